// A processor that walks a row through a tree guesses wrong at most of the conditions, and that takes nearly all of the
// time. A tree of up to 64 leaves has one bit for each here, from left to right. All its conditions are looked at, each
// for many rows at once, or many for a lone row; one that does not hold clears the bits of the leaves on its left side.
// The first bit that is left is the row's leaf. (QuickScorer, Lucchese et al., SIGIR 2015; its form for vector
// instructions, SIGIR 2016.) A larger tree is walked, with a step for many rows at once.
//
// Sums are made in the order of the trees, as ONNX Runtime's own kernel makes them: results have the same bits.
#include "trees.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_LEAVES = 64, LANES = 8, MOST_PACKETS = 4 };
enum { SUM = 1, NO_TRANSFORM = 0, LESS_OR_EQUAL = 0 };
enum { MOST_TARGETS = 1 << 16, MOST_FEATURES = 1 << 24 };

// Compilers split these where a processor's vectors are shorter.
typedef double Numbers __attribute__((vector_size(LANES * sizeof(double)), may_alias));
typedef int64_t Bits __attribute__((vector_size(LANES * sizeof(int64_t)), may_alias));

// A condition of a tree that is walked; next[1] is where a row goes for which it does not hold, ~leaf if negative.
typedef struct {
  double threshold;
  uint32_t column;
  uint32_t missing_goes_left;
  int64_t next[2];
} Step;

typedef struct {
  double weight;
  size_t target;
} Leaf;

typedef struct {
  bool is_walked;
  size_t root;  // of a tree that is walked, in `step`
  // Of one that is not: its conditions that send missing values to the right, and to the left. Both begin at a multiple
  // of LANES, and up to the next one follow conditions that always hold.
  size_t right, rights, left, lefts;
  size_t leaf, target;
} Tree;

struct Ensemble {
  size_t trees, columns, targets;
  int64_t least_width;
  size_t* feature;  // of each column: only features that conditions look at are copied
  Tree* tree;
  // Of each condition:
  double* threshold;
  uint64_t* kept;  // leaves that can still be reached if it does not hold
  uint32_t* column;
  double* weight;  // of the leaves, tree by tree from left to right
  Step* step;      // by the numbers that conditions have in the attributes, as have the leaves
  Leaf* leaf;
};

// --- What is expected ------------------------------------------------------------------------------------------------

// A condition's side is a leaf that there is, or a condition after it, so that no walk goes in circles.
static bool is_side(const Attributes* a, size_t condition, int64_t side, bool is_leaf) {
  return is_leaf ? side >= 0 && (size_t)side < a->leaves
                 : side > (int64_t)condition && (size_t)side < a->conditions;
}

const char* what_is_unexpected(const Attributes* a) {
  if (a->aggregate != SUM || a->transform != NO_TRANSFORM) return "the trees are not plain sums";
  if (a->targets < 1 || a->targets > MOST_TARGETS) return "the trees have no or too many targets";
  for (size_t i = 0; i < a->conditions; i++) {
    if (a->mode[i] != LESS_OR_EQUAL) return "a condition of the trees is not <=";
    if (a->split[i] != a->split[i]) return "a threshold of the trees is not a number";
    if (a->feature[i] < 0 || a->feature[i] >= MOST_FEATURES) return "a feature of the trees is out of range";
    if (!is_side(a, i, a->if_true[i], a->true_is_leaf[i]) || !is_side(a, i, a->if_false[i], a->false_is_leaf[i]))
      return "a condition of the trees leads nowhere, or back";
  }
  for (size_t i = 0; i < a->leaves; i++)
    if (a->target[i] < 0 || a->target[i] >= a->targets) return "a target of the trees is out of range";
  for (size_t i = 0; i < a->roots; i++)
    if (a->root[i] < 0 || (size_t)a->root[i] >= a->conditions) return "a root of the trees is out of range";
  return NULL;
}

// --- Building --------------------------------------------------------------------------------------------------------

typedef struct {
  const Attributes* from;
  Ensemble* to;
  size_t* column;        // of each feature
  size_t taken, leaves;  // conditions and leaves of the trees before this one
  size_t conditions;     // the same, with those that always hold
  // Of this tree:
  size_t target, placed, reached;
  struct {
    int64_t number;  // in the attributes
    uint64_t kept;
  } condition[MOST_LEAVES];
} Building;

// Place a condition or leaf and all below it, from left to right. False where this tree is one to be walked.
static bool place(Building* b, int64_t at, bool is_leaf) {
  const Attributes* a = b->from;
  if (is_leaf) {
    // More leaves than there are: some are on several ways.
    if (b->reached == MOST_LEAVES || b->leaves + b->reached == a->leaves) return false;
    if (!b->reached) b->target = (size_t)a->target[at];
    b->to->weight[b->leaves + b->reached++] = a->weight[at];
    return (size_t)a->target[at] == b->target;
  }
  if (b->placed == MOST_LEAVES - 1 || b->taken + b->placed == a->conditions) return false;
  const size_t slot = b->placed++;
  const size_t first = b->reached;
  if (!place(b, a->if_true[at], a->true_is_leaf[at])) return false;
  const size_t count = b->reached - first;
  if (count == MOST_LEAVES) return false;  // and there is a right side to come
  b->condition[slot].number = at;
  b->condition[slot].kept = ~(((UINT64_C(1) << count) - 1) << first);
  return place(b, a->if_false[at], a->false_is_leaf[at]);
}

// Add the conditions of this tree that send missing values to one side; return how many.
static size_t add_conditions(Building* b, bool missing_left) {
  Ensemble* e = b->to;
  const size_t first = b->conditions;
  for (size_t i = 0; i < b->placed; i++) {
    const int64_t number = b->condition[i].number;
    if ((b->from->missing_left[number] != 0) != missing_left) continue;
    e->threshold[b->conditions] = b->from->split[number];
    e->kept[b->conditions] = b->condition[i].kept;
    e->column[b->conditions++] = (uint32_t)b->column[b->from->feature[number]];
  }
  const size_t count = b->conditions - first;
  for (; b->conditions % LANES; b->conditions++) {
    e->threshold[b->conditions] = 0;
    e->kept[b->conditions] = ~UINT64_C(0);
    e->column[b->conditions] = 0;
  }
  return count;
}

static void add_tree(Building* b, int64_t root) {
  Ensemble* e = b->to;
  Tree* tree = &e->tree[e->trees++];
  b->placed = b->reached = 0;
  if (!place(b, root, false)) {
    *tree = (Tree){.is_walked = true, .root = (size_t)root};
    return;
  }
  *tree = (Tree){.leaf = b->leaves, .target = b->target};
  tree->right = b->conditions;
  tree->rights = add_conditions(b, false);
  tree->left = b->conditions;
  tree->lefts = add_conditions(b, true);
  b->taken += b->placed;
  b->leaves += b->reached;
}

// Give the features that conditions look at columns of their own, and return that of each; NULL without memory.
static size_t* number_columns(Ensemble* e, const Attributes* a) {
  for (size_t i = 0; i < a->conditions; i++)
    if (a->feature[i] >= e->least_width) e->least_width = a->feature[i] + 1;
  const size_t width = (size_t)e->least_width;
  size_t* column = calloc(width, sizeof *column);
  e->feature = malloc(width * sizeof *e->feature);
  if (!column || !e->feature) {
    free(column);
    return NULL;
  }
  for (size_t i = 0; i < a->conditions; i++) column[a->feature[i]] = 1;
  for (size_t f = 0; f < width; f++) {
    if (!column[f]) continue;
    column[f] = e->columns;
    e->feature[e->columns++] = f;
  }
  return column;
}

static bool add_steps(Ensemble* e, const Attributes* a, const size_t* column) {
  e->step = malloc(a->conditions * sizeof *e->step);
  e->leaf = malloc(a->leaves * sizeof *e->leaf);
  if (!e->step || !e->leaf) return false;
  for (size_t i = 0; i < a->conditions; i++) {
    e->step[i] = (Step){
        .threshold = a->split[i],
        .column = (uint32_t)column[a->feature[i]],
        .missing_goes_left = a->missing_left[i] != 0,
        .next = {a->true_is_leaf[i] ? ~a->if_true[i] : a->if_true[i],
                 a->false_is_leaf[i] ? ~a->if_false[i] : a->if_false[i]},
    };
  }
  for (size_t i = 0; i < a->leaves; i++) e->leaf[i] = (Leaf){.weight = a->weight[i], .target = (size_t)a->target[i]};
  return true;
}

void free_ensemble(Ensemble* e) {
  void* all[] = {e->feature, e->tree, e->threshold, e->kept, e->column, e->weight, e->step, e->leaf, e};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

Ensemble* make_ensemble(const Attributes* a) {
  Ensemble* e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->targets = (size_t)a->targets;
  e->tree = malloc(a->roots * sizeof *e->tree);
  // Both kinds of a tree's conditions are filled up to a multiple of LANES.
  const size_t most = (a->conditions + 2 * a->roots * LANES) / LANES * LANES;
  e->threshold = aligned_alloc(sizeof(Numbers), most * sizeof *e->threshold);
  e->kept = aligned_alloc(sizeof(Bits), most * sizeof *e->kept);
  e->column = malloc(most * sizeof *e->column);
  e->weight = malloc(a->leaves * sizeof *e->weight);
  Building building = {.from = a, .to = e, .column = number_columns(e, a)};
  bool made = e->tree && e->threshold && e->kept && e->column && e->weight && building.column;
  bool any_is_walked = false;
  for (size_t i = 0; made && i < a->roots; i++) {
    add_tree(&building, a->root[i]);
    any_is_walked |= e->tree[i].is_walked;
  }
  if (made && any_is_walked) made = add_steps(e, a, building.column);
  free(building.column);
  if (made) return e;
  free_ensemble(e);
  return NULL;
}

size_t ensemble_targets(const Ensemble* e) { return e->targets; }

int64_t ensemble_width(const Ensemble* e) { return e->least_width; }

// --- Scoring ---------------------------------------------------------------------------------------------------------

#define INLINE static inline __attribute__((always_inline))  // for every kind of processor anew, and `packets` constant

// `x` has the columns one after the other, and `sums` the targets, each with a value for `packets` times LANES rows.
INLINE void score_tree(const Ensemble* e, const Tree* tree, const int packets, const Numbers* x, double* sums) {
  Bits live[MOST_PACKETS];
  for (int p = 0; p < packets; p++) live[p] = (Bits){0} - 1;
  for (size_t c = tree->right; c < tree->right + tree->rights; c++) {
    const Numbers* value = x + e->column[c] * packets;
    for (int p = 0; p < packets; p++) live[p] &= (value[p] <= e->threshold[c]) | (int64_t)e->kept[c];
  }
  for (size_t c = tree->left; c < tree->left + tree->lefts; c++) {
    const Numbers* value = x + e->column[c] * packets;
    for (int p = 0; p < packets; p++) live[p] &= ~(value[p] > e->threshold[c]) | (int64_t)e->kept[c];
  }
  union {
    Bits packet[MOST_PACKETS];
    uint64_t row[MOST_PACKETS * LANES];
  } left;
  for (int p = 0; p < packets; p++) left.packet[p] = live[p];
  double* sum = sums + tree->target * packets * LANES;
  for (int row = 0; row < packets * LANES; row++) sum[row] += e->weight[tree->leaf + __builtin_ctzll(left.row[row])];
}

INLINE Numbers values_of(const double* x, const uint32_t* column) {
  return (Numbers){x[column[0]], x[column[1]], x[column[2]], x[column[3]],
                   x[column[4]], x[column[5]], x[column[6]], x[column[7]]};
}

// One row, with LANES conditions at once.
INLINE void score_row(const Ensemble* e, const Tree* tree, const double* x, double* sums) {
  Bits live = (Bits){0} - 1;
  for (size_t c = tree->right; c < tree->right + tree->rights; c += LANES)
    live &= (values_of(x, e->column + c) <= *(const Numbers*)(e->threshold + c)) | *(const Bits*)(e->kept + c);
  for (size_t c = tree->left; c < tree->left + tree->lefts; c += LANES)
    live &= ~(values_of(x, e->column + c) > *(const Numbers*)(e->threshold + c)) | *(const Bits*)(e->kept + c);
  int64_t left = live[0];
  for (int lane = 1; lane < LANES; lane++) left &= live[lane];
  sums[tree->target] += e->weight[tree->leaf + __builtin_ctzll((uint64_t)left)];
}

INLINE void walk_tree(const Ensemble* e, const Tree* tree, const int lanes, const int rows, const double* x,
                      double* sums) {
  int64_t at[MOST_PACKETS * LANES];
  for (int row = 0; row < rows; row++) at[row] = (int64_t)tree->root;
  for (bool walking = true; walking;) {
    walking = false;
    for (int row = 0; row < rows; row++) {
      const Step* step = &e->step[at[row] < 0 ? (int64_t)tree->root : at[row]];
      const double value = x[step->column * lanes + row];
      const bool left = (value <= step->threshold) | ((value != value) & step->missing_goes_left);
      at[row] = at[row] < 0 ? at[row] : step->next[!left];
      walking |= at[row] >= 0;
    }
  }
  for (int row = 0; row < rows; row++) sums[e->leaf[~at[row]].target * lanes + row] += e->leaf[~at[row]].weight;
}

// A lone row has no packets.
INLINE void score_trees(const Ensemble* e, const int packets, const int rows, const Numbers* x, double* sums) {
  for (size_t t = 0; t < e->trees; t++) {
    const Tree* tree = &e->tree[t];
    if (tree->is_walked)
      walk_tree(e, tree, packets ? packets * LANES : 1, rows, (const double*)x, sums);
    else if (packets)
      score_tree(e, tree, packets, x, sums);
    else
      score_row(e, tree, (const double*)x, sums);
  }
}

// Compiled for each generation of vector instructions; the one that this processor has is chosen when it is loaded.
#if defined(__x86_64__) && defined(__linux__)
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
static void score_rows(const Ensemble* e, const double* X, int64_t rows, int64_t width, Numbers* x, double* sums,
                       double* out) {
  for (int64_t done = 0; done < rows;) {
    const int64_t left = rows - done;
    const int packets = left > 2 * LANES ? MOST_PACKETS : left > LANES ? 2 : left > 1 ? 1 : 0;
    const int lanes = packets ? packets * LANES : 1;
    const int taken = left < lanes ? (int)left : lanes;
    for (int row = 0; row < lanes; row++) {
      const double* values = X + (done + (row < taken ? row : 0)) * width;
      for (size_t c = 0; c < e->columns; c++) ((double*)x)[c * lanes + row] = values[e->feature[c]];
    }
    memset(sums, 0, e->targets * lanes * sizeof *sums);
    if (packets == 0)
      score_trees(e, 0, taken, x, sums);
    else if (packets == 1)
      score_trees(e, 1, taken, x, sums);
    else if (packets == 2)
      score_trees(e, 2, taken, x, sums);
    else
      score_trees(e, MOST_PACKETS, taken, x, sums);
    for (int row = 0; row < taken; row++)
      for (size_t target = 0; target < e->targets; target++)
        out[(done + row) * e->targets + target] = sums[target * lanes + row];
    done += taken;
  }
}

bool score(const Ensemble* e, const double* X, int64_t rows, int64_t width, double* sums) {
  const size_t lanes = MOST_PACKETS * LANES;
  Numbers* x = aligned_alloc(sizeof(Numbers), (e->columns + e->targets) * lanes * sizeof(double));
  if (!x) return false;
  score_rows(e, X, rows, width, x, (double*)x + e->columns * lanes, sums);
  free(x);
  return true;
}
