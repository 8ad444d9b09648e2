"""Tests of the ONNX project whose operators rvcnn has and that are left out all the same.

A test's name, and the operator whose limit in ``rvcnn.onnx.supported`` it meets.
"""

LEFT_OUT = {
    "test_attention_3d_causal_bf16": "Attention",
    "test_attention_3d_causal_bf16_expanded": "Softmax",
    "test_attention_4d_attn_mask_causal_bf16": "Attention",
    "test_attention_4d_attn_mask_causal_bf16_expanded": "Softmax",
    "test_attention_4d_causal_bf16": "Attention",
    "test_attention_4d_causal_bf16_expanded": "Softmax",
    "test_attention_4d_causal_fp16_expanded": "Softmax",
    "test_attention_4d_causal_padded_kv_bf16": "Attention",
    "test_attention_4d_causal_padded_kv_bf16_expanded": "Softmax",
    "test_attention_4d_padded_kv_bf16": "Attention",
    "test_attention_4d_padded_kv_bf16_expanded": "Softmax",
    "test_resize_downsample_scales_cubic_align_corners": "Resize",
    "test_resize_downsample_scales_linear_align_corners": "Resize",
    "test_scan_sum": "Scan",
    "test_training_dropout": "Dropout",
    "test_training_dropout_default": "Dropout",
    "test_training_dropout_default_mask": "Dropout",
    "test_training_dropout_mask": "Dropout",
}
