/* The table of segments of ee_tflm.h. Generated. */

#include "ee_tflm.h"

$arrays

/* model, its bytes, arena and features in bytes, which output holds logits and features, threshold */
const ee_tflm_segment ee_tflm_segments[EE_TFLM_SEGMENTS] = {
$rows
};

const char *const ee_tflm_labels[EE_TFLM_CLASSES] = {$labels};
