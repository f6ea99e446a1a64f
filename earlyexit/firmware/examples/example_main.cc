// Runs the segments of ee_tflm.h with TensorFlow Lite Micro: each segment is set up in the same arena when
// its turn comes, so that RAM is needed for the largest alone, and an early exit saves setting up what lies
// behind it. Where RAM allows, an interpreter for each segment, made once, saves the time that this takes.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "ee_tflm.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

using Resolver = tflite::MicroMutableOpResolver<EE_TFLM_OPERATORS>;

struct Result {
  int label;
  int exit;
  int margin;
};

alignas(16) uint8_t arena[EE_TFLM_ARENA_BYTES];
int8_t features[EE_TFLM_FEATURES_BYTES > 0 ? EE_TFLM_FEATURES_BYTES : 1];

// Runs one segment; the features that it leaves take the place of those of the one before it.
bool RunSegment(const ee_tflm_segment& segment, const Resolver& resolver, const int8_t* input,
                int8_t* logits) {
  tflite::MicroInterpreter interpreter(tflite::GetModel(segment.model), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    return false;
  }
  std::memcpy(interpreter.input(0)->data.int8, input, interpreter.input(0)->bytes);
  if (interpreter.Invoke() != kTfLiteOk) {
    return false;
  }
  std::memcpy(logits, interpreter.output(segment.logits)->data.int8, EE_TFLM_CLASSES);
  if (segment.features >= 0) {
    std::memcpy(features, interpreter.output(segment.features)->data.int8, segment.features_bytes);
  }
  return true;
}

// Classifies an INT8 image; false where TensorFlow Lite Micro fails.
bool Run(const Resolver& resolver, const int8_t* image, Result* result) {
  int label = -1;
  int agreeing = 0;  // classifiers in a row with the same label
  for (int number = 0; number < EE_TFLM_SEGMENTS; ++number) {
    const ee_tflm_segment& segment = ee_tflm_segments[number];
    int8_t logits[EE_TFLM_CLASSES];
    if (!RunSegment(segment, resolver, number == 0 ? image : features, logits)) {
      return false;
    }
    const int margin = logits[1] - logits[0];
    const int found = margin > 0 ? 1 : 0;
    agreeing = found == label ? agreeing + 1 : 1;
    label = found;
    if (std::abs(margin) > segment.threshold || agreeing == EE_TFLM_PATIENCE) {
      *result = {label, number, std::abs(margin)};
      return true;
    }
  }
  return false;  // not reached: the last threshold lets everything pass
}

}  // namespace

int main() {
  Resolver resolver;
  if (EE_TFLM_ADD_OPERATORS_FAILS(resolver)) {
    return 1;
  }
  static int8_t image[EE_TFLM_IMAGE_BYTES];  // a camera fills it
  Result result;
  if (!Run(resolver, image, &result)) {
    return 1;
  }
  std::printf("%s: exit %d, margin %d\n", ee_tflm_labels[result.label], result.exit, result.margin);
  return 0;
}
