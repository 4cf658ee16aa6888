// The operator ai.onnx.ml.TreeEnsemble for ONNX Runtime: sums of trees in float64, without branches that a processor
// has to guess. The runtime's own kernel walks each row from condition to condition, and guesses wrong at most of them.
//
// A tree of up to 64 leaves has one bit for each, from left to right. All its conditions are looked at, each for many
// rows at once, or many for a lone row; one that does not hold clears the bits of the leaves on its left side. The first
// bit that is left is the row's leaf. (QuickScorer, Lucchese et al., SIGIR 2015; its form for vector instructions, SIGIR
// 2016.) A larger tree is walked, with a step for many rows at once.
//
// Sums are made in the order of the trees, as the runtime's own kernel makes them: results have the same bits. What
// the export never writes (other comparisons, aggregates and transforms) is refused when the kernel is created.
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_abi.h"

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

typedef struct {
  const OrtApi* api;
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
} Ensemble;

static atomic_long ensembles;

// How many ensembles this process has open.
long aforo_tree_ensembles(void) { return atomic_load(&ensembles); }

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
static void score(const Ensemble* e, const double* X, int64_t rows, int64_t width, Numbers* x, double* sums,
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

// --- Reading the attributes ------------------------------------------------------------------------------------------

// https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
typedef struct {
  int64_t targets, aggregate, transform;
  size_t conditions, leaves, roots;
  double *split, *weight;
  uint8_t* mode;
  int64_t *root, *feature, *if_true, *true_is_leaf, *if_false, *false_is_leaf, *missing_left, *target;
} Attributes;

static OrtStatus* refuse(const OrtApi* api, const char* why) { return api->CreateStatus(ORT_NOT_IMPLEMENTED, why); }

static OrtStatus* out_of_memory(const OrtApi* api) { return api->CreateStatus(ORT_FAIL, "out of memory"); }

// Read a list of `*length` integers, or if that is 0, of any length but 0.
static OrtStatus* read_list(const OrtApi* api, const OrtKernelInfo* info, const char* name, size_t* length,
                            int64_t** values) {
  size_t found = 0;
  OrtStatus* status = api->KernelInfoGetAttributeArray_int64(info, name, NULL, &found);
  if (status) return status;
  if (!found || (*length && found != *length)) return refuse(api, "a list of the trees has an unexpected length");
  *values = malloc(found * sizeof **values);
  if (!*values) return out_of_memory(api);
  *length = found;
  return api->KernelInfoGetAttributeArray_int64(info, name, *values, &found);
}

// Read a tensor of `*length` elements of `size` bytes, or if that is 0, of any number but 0.
static OrtStatus* read_tensor(const OrtApi* api, const OrtKernelInfo* info, const char* name, int type, size_t size,
                              size_t* length, void** values) {
  OrtAllocator* allocator = NULL;
  OrtValue* tensor = NULL;
  OrtTensorTypeAndShapeInfo* shape = NULL;
  void* data = NULL;
  int found_type = 0;
  size_t found = 0;
  OrtStatus* status = api->GetAllocatorWithDefaultOptions(&allocator);
  if (!status) status = api->KernelInfoGetAttribute_tensor(info, name, allocator, &tensor);
  if (!status) status = api->GetTensorTypeAndShape(tensor, &shape);
  if (!status) status = api->GetTensorElementType(shape, &found_type);
  if (!status) status = api->GetTensorShapeElementCount(shape, &found);
  if (!status) status = api->GetTensorMutableData(tensor, &data);
  if (!status && (found_type != type || !found || (*length && found != *length)))
    status = refuse(api, "a tensor of the trees has an unexpected type or length");
  if (!status && !(*values = malloc(found * size))) status = out_of_memory(api);
  if (!status) {
    memcpy(*values, data, found * size);
    *length = found;
  }
  if (shape) api->ReleaseTensorTypeAndShapeInfo(shape);
  if (tensor) api->ReleaseValue(tensor);
  return status;
}

// A condition's side is a leaf that there is, or a condition after it, so that no walk goes in circles.
static bool is_side(const Attributes* a, size_t condition, int64_t side, bool is_leaf) {
  return is_leaf ? side >= 0 && (size_t)side < a->leaves
                 : side > (int64_t)condition && (size_t)side < a->conditions;
}

static const char* what_is_unexpected(const Attributes* a) {
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

static OrtStatus* read_attributes(const OrtApi* api, const OrtKernelInfo* info, Attributes* a) {
  const struct {
    const char* name;
    size_t* length;
    int64_t** values;
  } lists[] = {
      {"tree_roots", &a->roots, &a->root},
      {"nodes_featureids", &a->conditions, &a->feature},
      {"nodes_truenodeids", &a->conditions, &a->if_true},
      {"nodes_trueleafs", &a->conditions, &a->true_is_leaf},
      {"nodes_falsenodeids", &a->conditions, &a->if_false},
      {"nodes_falseleafs", &a->conditions, &a->false_is_leaf},
      {"nodes_missing_value_tracks_true", &a->conditions, &a->missing_left},
      {"leaf_targetids", &a->leaves, &a->target},
  };
  OrtStatus* status = api->KernelInfoGetAttribute_int64(info, "n_targets", &a->targets);
  if (!status) status = api->KernelInfoGetAttribute_int64(info, "aggregate_function", &a->aggregate);
  if (!status) status = api->KernelInfoGetAttribute_int64(info, "post_transform", &a->transform);
  for (size_t i = 0; !status && i < sizeof lists / sizeof *lists; i++)
    status = read_list(api, info, lists[i].name, lists[i].length, lists[i].values);
  if (!status)
    status = read_tensor(api, info, "nodes_modes", ORT_UINT8, sizeof *a->mode, &a->conditions, (void**)&a->mode);
  if (!status)
    status = read_tensor(api, info, "nodes_splits", ORT_DOUBLE, sizeof *a->split, &a->conditions, (void**)&a->split);
  if (!status)
    status = read_tensor(api, info, "leaf_weights", ORT_DOUBLE, sizeof *a->weight, &a->leaves, (void**)&a->weight);
  const char* unexpected = status ? NULL : what_is_unexpected(a);
  return unexpected ? refuse(api, unexpected) : status;
}

static void free_attributes(Attributes* a) {
  void* all[] = {a->split,        a->weight,   a->mode,          a->root,         a->feature, a->if_true,
                 a->true_is_leaf, a->if_false, a->false_is_leaf, a->missing_left, a->target};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

// --- Building --------------------------------------------------------------------------------------------------------

typedef struct {
  const Attributes* from;
  Ensemble* to;
  size_t* column;             // of each feature
  size_t taken, leaves;       // conditions and leaves of the trees before this one
  size_t conditions;          // with those that always hold
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

static OrtStatus* number_columns(Ensemble* e, const Attributes* a, size_t** column) {
  for (size_t i = 0; i < a->conditions; i++)
    if (a->feature[i] >= e->least_width) e->least_width = a->feature[i] + 1;
  const size_t width = (size_t)e->least_width;
  *column = calloc(width, sizeof **column);
  e->feature = malloc(width * sizeof *e->feature);
  if (!*column || !e->feature) return out_of_memory(e->api);
  for (size_t i = 0; i < a->conditions; i++) (*column)[a->feature[i]] = 1;
  for (size_t f = 0; f < width; f++) {
    if (!(*column)[f]) continue;
    (*column)[f] = e->columns;
    e->feature[e->columns++] = f;
  }
  return NULL;
}

static OrtStatus* add_steps(Ensemble* e, const Attributes* a, const size_t* column) {
  e->step = malloc(a->conditions * sizeof *e->step);
  e->leaf = malloc(a->leaves * sizeof *e->leaf);
  if (!e->step || !e->leaf) return out_of_memory(e->api);
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
  return NULL;
}

static void free_ensemble(Ensemble* e) {
  void* all[] = {e->feature, e->tree, e->threshold, e->kept, e->column, e->weight, e->step, e->leaf, e};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static OrtStatus* build(const OrtApi* api, const Attributes* a, Ensemble** built) {
  Ensemble* e = calloc(1, sizeof *e);
  if (!e) return out_of_memory(api);
  Building building = {.from = a, .to = e};
  e->api = api;
  e->targets = (size_t)a->targets;
  e->tree = malloc(a->roots * sizeof *e->tree);
  // Both kinds of a tree's conditions are filled up to a multiple of LANES.
  const size_t most = (a->conditions + 2 * a->roots * LANES) / LANES * LANES;
  e->threshold = aligned_alloc(sizeof(Numbers), most * sizeof *e->threshold);
  e->kept = aligned_alloc(sizeof(Bits), most * sizeof *e->kept);
  e->column = malloc(most * sizeof *e->column);
  e->weight = malloc(a->leaves * sizeof *e->weight);
  OrtStatus* status = e->tree && e->threshold && e->kept && e->column && e->weight ? NULL : out_of_memory(api);
  if (!status) status = number_columns(e, a, &building.column);
  bool any_is_walked = false;
  for (size_t i = 0; !status && i < a->roots; i++) {
    add_tree(&building, a->root[i]);
    any_is_walked |= e->tree[i].is_walked;
  }
  if (!status && any_is_walked) status = add_steps(e, a, building.column);
  free(building.column);
  if (status)
    free_ensemble(e);
  else
    *built = e;
  return status;
}

// --- The operator ----------------------------------------------------------------------------------------------------

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  (void)op;
  Attributes attributes = {0};
  Ensemble* built = NULL;
  OrtStatus* status = read_attributes(api, info, &attributes);
  if (!status) status = build(api, &attributes, &built);
  free_attributes(&attributes);
  if (!status) atomic_fetch_add(&ensembles, 1);
  *kernel = built;
  return status;
}

static void destroy(void* kernel) {
  free_ensemble(kernel);
  atomic_fetch_sub(&ensembles, 1);
}

static OrtStatus* compute(void* kernel, OrtKernelContext* call) {
  const Ensemble* e = kernel;
  const OrtApi* api = e->api;
  const OrtValue* input = NULL;
  OrtValue* output = NULL;
  OrtTensorTypeAndShapeInfo* info = NULL;
  size_t rank = 0;
  int64_t shape[2] = {0};  // rows, width
  double *X = NULL, *out = NULL;
  OrtStatus* status = api->KernelContext_GetInput(call, 0, &input);
  if (!status) status = api->GetTensorTypeAndShape(input, &info);
  if (!status) status = api->GetDimensionsCount(info, &rank);
  if (!status && rank != 2) status = api->CreateStatus(ORT_INVALID_ARGUMENT, "trees take a matrix");
  if (!status) status = api->GetDimensions(info, shape, 2);
  if (info) api->ReleaseTensorTypeAndShapeInfo(info);
  if (!status && shape[1] < e->least_width)
    status = api->CreateStatus(ORT_INVALID_ARGUMENT, "the matrix has fewer columns than the trees look at");
  const int64_t result[2] = {shape[0], (int64_t)e->targets};
  if (!status) status = api->KernelContext_GetOutput(call, 0, result, 2, &output);
  if (!status) status = api->GetTensorMutableData((OrtValue*)input, (void**)&X);
  if (!status) status = api->GetTensorMutableData(output, (void**)&out);
  if (status) return status;
  const size_t lanes = MOST_PACKETS * LANES;
  Numbers* x = aligned_alloc(sizeof(Numbers), (e->columns + e->targets) * lanes * sizeof(double));
  if (!x) return out_of_memory(api);
  score(e, X, shape[0], shape[1], x, (double*)x + e->columns * lanes, out);
  free(x);
  return NULL;
}

static const char* name(const OrtCustomOp* op) { return (void)op, "TreeEnsemble"; }
static const char* provider(const OrtCustomOp* op) { return (void)op, NULL; }  // the processor
static int element(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_DOUBLE; }
static int presence(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_REQUIRED; }
static int memory(const OrtCustomOp* op, size_t i) { return (void)op, (void)i, ORT_DEFAULT_MEMORY; }
static size_t one(const OrtCustomOp* op) { return (void)op, (size_t)1; }
static int opset(const OrtCustomOp* op) { return (void)op, 5; }

static const OrtCustomOp tree_ensemble = {
    .version = ABI_VERSION,
    .GetName = name,
    .GetExecutionProviderType = provider,
    .GetInputType = element,
    .GetInputTypeCount = one,
    .GetOutputType = element,
    .GetOutputTypeCount = one,
    .KernelDestroy = destroy,
    .GetInputCharacteristic = presence,
    .GetOutputCharacteristic = presence,
    .GetInputMemoryType = memory,
    .CreateKernelV2 = create,
    .KernelComputeV2 = compute,
    .GetStartVersion = opset,
    .GetEndVersion = opset,
};

static OrtCustomOpDomain* domain;  // sessions refer to it for as long as they live
static pthread_mutex_t domain_lock = PTHREAD_MUTEX_INITIALIZER;

// What the runtime calls for each session that is opened with this library. The operator has the domain and name of a
// standard one, and is taken in its place.
OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ABI_VERSION);
  if (!api) return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED, "this ONNX Runtime is older than 1.17");
  OrtStatus* status = NULL;
  pthread_mutex_lock(&domain_lock);
  if (!domain) {
    OrtCustomOpDomain* made = NULL;
    status = api->CreateCustomOpDomain("ai.onnx.ml", &made);
    if (!status) status = api->CustomOpDomain_Add(made, &tree_ensemble);
    if (!status) domain = made;
  }
  pthread_mutex_unlock(&domain_lock);
  return status ? status : api->AddCustomOpDomain(options, domain);
}
