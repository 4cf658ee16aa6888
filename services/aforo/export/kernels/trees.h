// Sums of decision trees in float64, without branches that a processor has to guess.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a tree ensemble is made of: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html.
typedef struct {
  int64_t targets, aggregate, transform;
  size_t conditions, leaves, roots;
  double *split, *weight;
  uint8_t* mode;
  int64_t *root, *feature, *if_true, *true_is_leaf, *if_false, *false_is_leaf, *missing_left, *target;
} Attributes;

typedef struct Ensemble Ensemble;

// Why these trees cannot be summed here, or NULL. The other functions take only attributes that have passed.
const char* what_is_unexpected(const Attributes* attributes);

// NULL if there is no memory.
Ensemble* make_ensemble(const Attributes* attributes);

void free_ensemble(Ensemble* ensemble);

size_t ensemble_targets(const Ensemble* ensemble);

// The fewest columns that a matrix must have.
int64_t ensemble_width(const Ensemble* ensemble);

// Sum the trees for each row of X, of shape (rows, width), into `sums` of shape (rows, targets). False without memory.
bool score(const Ensemble* ensemble, const double* X, int64_t rows, int64_t width, double* sums);
