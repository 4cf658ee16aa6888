// ONNX Runtime's operator ai.onnx.ml.TreeEnsemble, computed by trees.c. What the export never writes, such as other
// comparisons, aggregates and transforms, is refused when the kernel is created.
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_abi.h"
#include "trees.h"

#define EXPORTED __attribute__((visibility("default")))

typedef struct {
  const OrtApi* api;
  Ensemble* ensemble;
} Kernel;

static atomic_long open_kernels;

// How many kernels this process has open.
EXPORTED long aforo_open_kernels(void) { return atomic_load(&open_kernels); }

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
  return status;
}

static void free_attributes(Attributes* a) {
  void* all[] = {a->split,        a->weight,   a->mode,          a->root,         a->feature, a->if_true,
                 a->true_is_leaf, a->if_false, a->false_is_leaf, a->missing_left, a->target};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  (void)op;
  Attributes attributes = {0};
  Kernel* made = NULL;
  OrtStatus* status = read_attributes(api, info, &attributes);
  const char* unexpected = status ? NULL : what_is_unexpected(&attributes);
  if (unexpected) status = refuse(api, unexpected);
  if (!status && !((made = malloc(sizeof *made)) && (made->ensemble = make_ensemble(&attributes)))) {
    free(made);
    status = out_of_memory(api);
  }
  free_attributes(&attributes);
  if (status) return status;
  made->api = api;
  atomic_fetch_add(&open_kernels, 1);
  *kernel = made;
  return NULL;
}

static void destroy(void* kernel) {
  free_ensemble(((Kernel*)kernel)->ensemble);
  free(kernel);
  atomic_fetch_sub(&open_kernels, 1);
}

static OrtStatus* compute(void* kernel, OrtKernelContext* call) {
  const Ensemble* ensemble = ((Kernel*)kernel)->ensemble;
  const OrtApi* api = ((Kernel*)kernel)->api;
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
  if (!status && shape[1] < ensemble_width(ensemble))
    status = api->CreateStatus(ORT_INVALID_ARGUMENT, "the matrix has fewer columns than the trees look at");
  const int64_t result[2] = {shape[0], (int64_t)ensemble_targets(ensemble)};
  if (!status) status = api->KernelContext_GetOutput(call, 0, result, 2, &output);
  if (!status) status = api->GetTensorMutableData((OrtValue*)input, (void**)&X);
  if (!status) status = api->GetTensorMutableData(output, (void**)&out);
  if (status) return status;
  return score(ensemble, X, shape[0], shape[1], out) ? NULL : out_of_memory(api);
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
EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
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
