"""The checklist that docs/coverage.md reports on: what PyTorch's quantization API offers, one row per capability.

A test that proves rows says so with ``@pytest.mark.rows(8, 9)``: it fails when the behaviour of one of them breaks.
``@pytest.mark.rows(213, differs="why, in one sentence")`` marks the test of a behaviour that is deliberately
different. ``scripts/coverage.py`` collects the marks and writes the page.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One capability."""

    number: int
    name: str
    kind: str


_TABLE = """
# dtypes
1 qint8, quint8, qint32
2 quint4x2

# schemes
3 per_tensor_affine
4 per_channel_affine
5 per_tensor_symmetric
6 per_channel_symmetric
7 per_channel_affine_float_qparams

# functions
8 quantize_per_tensor
9 quantize_per_tensor of a list
10 quantize_per_channel
11 dequantize
12 _make_per_tensor_quantized_tensor
13 _make_per_channel_quantized_tensor
14 _empty_affine_quantized
15 _empty_per_channel_affine_quantized
16 empty_quantized, empty_like
17 _choose_qparams_per_tensor
18 choose_qparams_optimized
19 _saturate_weight_to_fp16

# accessors of a quantized tensor
20 int_repr
21 q_scale
22 q_zero_point
23 q_per_channel_scales
24 q_per_channel_zero_points
25 q_per_channel_axis
26 qscheme
27 is_quantized

# methods of a quantized tensor
28 view, reshape, flatten
29 transpose, permute, t
30 expand, as_strided
31 slicing, select, narrow
32 chunk, split, unbind
33 squeeze, unsqueeze
34 unfold
35 indexing by tensors and masks
36 assignment to elements
37 copy_ from a float tensor
38 copy_ from a quantized tensor
39 clone, contiguous, detach
40 resize_
41 fill_
42 set_
43 equal
44 eq, ne, lt, le, gt, ge
45 sort
46 topk
47 max, min
48 mean
49 flip
50 repeat, repeat_interleave
51 item
52 repr
53 pickle, save, deepcopy
54 channels_last
55 operators without a quantized form

# functions that take quantized tensors
56 cat
57 stack
58 relu, relu_
59 relu6
60 hardtanh, hardtanh_
61 clamp
62 threshold
63 leaky_relu, leaky_relu_
64 sigmoid
65 tanh
66 hardsigmoid
67 max_pool1d, 2d
68 avg_pool1d, 2d, 3d
69 adaptive_avg_pool1d, 2d, 3d
70 interpolate nearest 2-D, 3-D
71 interpolate bilinear 2-D
72 pad reflect 1-D, 2-D
73 channel_shuffle, pixel_shuffle
74 dropout in eval mode

# ops.quantized
75 add
76 add_relu
77 mul
78 mul_relu
79 add_scalar (+relu, out)
80 mul_scalar (+relu, out)
81 cat, cat_relu (+out)
82 batch_norm 1d, 2d, 3d (+relu)
83 layer_norm
84 group_norm
85 instance_norm
86 celu
87 elu
88 hardswish
89 leaky_relu
90 sigmoid
91 relu6
92 clamp
93 threshold
94 max_pool1d, max_pool2d
95 linear_prepack, unpack
96 linear
97 linear_relu
98 linear_dynamic, linear_relu_dynamic
99 linear_prepack_fp16, linear_dynamic_fp16
100 conv1d, 2d, 3d_prepack, unpack
101 conv1d, conv2d, conv3d
102 conv1d, 2d, 3d_relu
103 conv_transpose1d, 2d, 3d (+prepack, unpack)
104 getters of packed parameters
105 embedding_byte
106 embedding_bag_byte, _rowwise_offsets
107 embedding_bag_4bit, _rowwise_offsets
108 embedding_bag_prepack, unpack
109 embedding_bag_byte/4bit/2bit_prepack, unpack
110 make_quantized_cell_params(_dynamic,_fp16)
111 quantized_lstm/gru/rnn_relu/rnn_tanh_cell_dynamic
112 quantized_lstm, quantized_gru
113 qlinear family

# nn.quantized.functional
114 avg_pool2d, avg_pool3d
115 adaptive_avg_pool2d, 3d
116 conv1d, conv2d, conv3d
117 linear
118 max_pool1d, max_pool2d
119 interpolate
120 celu, elu, hardswish
121 leaky_relu
122 hardtanh, threshold, clamp
123 hardsigmoid
124 upsample, upsample_bilinear, upsample_nearest

# nn.quantized
125 Quantize
126 DeQuantize
127 Linear
128 Conv1d
129 Conv2d
130 Conv3d
131 ConvTranspose1d
132 ConvTranspose2d
133 ConvTranspose3d
134 BatchNorm2d
135 BatchNorm3d
136 LayerNorm
137 GroupNorm
138 InstanceNorm1d, 2d, 3d
139 ReLU6
140 Hardswish
141 ELU
142 LeakyReLU
143 Sigmoid
144 Embedding
145 EmbeddingBag
146 FloatFunctional
147 FXFloatFunctional
148 QFunctional
149 state_dict of quantized modules
150 _reference.Linear, Conv1d, 2d, 3d

# nn.intrinsic
151 ConvReLU1d, 2d, 3d
152 LinearReLU
153 ConvBn1d, 2d, 3d
154 ConvBnReLU1d, 2d, 3d
155 BNReLU2d, 3d

# nn.intrinsic.quantized
156 ConvReLU1d, 2d, 3d
157 LinearReLU
158 BNReLU2d, 3d

# nn.qat and nn.intrinsic.qat
159 Linear
160 Conv2d, Conv3d
161 LinearReLU
162 ConvReLU2d, 3d
163 ConvBn1d, 2d, 3d
164 ConvBnReLU1d, 2d, 3d
165 freeze_bn_stats, update_bn_stats

# nn.quantized.dynamic
166 Linear
167 LSTM
168 GRU
169 LSTMCell
170 GRUCell
171 RNNCell
172 get_weight, get_bias

# nn.quantizable
173 LSTM, LSTMCell
174 MultiheadAttention

# observers
175 ObserverBase.with_args
176 MinMaxObserver
177 MovingAverageMinMaxObserver
178 PerChannelMinMaxObserver
179 MovingAveragePerChannelMinMaxObserver
180 HistogramObserver, accumulation
181 HistogramObserver, search of the range
182 PlaceholderObserver
183 RecordingObserver
184 NoopObserver
185 affine scale and zero point
186 symmetric scale and zero point
187 float zero points
188 reduce_range
189 quant_min, quant_max
190 eps
191 observers without data
192 default_*_observer
193 get/load_observer_state_dict

# fake quantization
194 FakeQuantize
195 FixedQParamsFakeQuantize
196 fake_quantize_per_tensor_affine
197 fake_quantize_per_channel_affine
198 fake_quantize_*_cachemask
199 _LearnableFakeQuantize
200 _fake_quantize_learnable_*
201 FusedMovingAvgObsFakeQuantize
202 enable_fake_quant, disable_fake_quant, enable_observer, disable_observer
203 default_*_fake_quant

# qconfigs
204 QConfig, QConfigDynamic
205 default_qconfig
206 default_debug_qconfig
207 default_per_channel_qconfig
208 default_dynamic_qconfig, per_channel_dynamic_qconfig
209 float16_dynamic_qconfig, float16_static_qconfig
210 float_qparams_weight_only_qconfig
211 default_qat_qconfig
212 default_weight_only_qconfig, default_activation_only_qconfig
213 get_default_qconfig
214 get_default_qat_qconfig
215 assert_valid_qconfig
216 QuantType

# eager workflows
217 prepare
218 prepare_qat
219 convert
220 quantize
221 quantize_qat
222 quantize_dynamic
223 fuse_modules
224 fuse_known_modules, get_fuser_method
225 fuse_conv_bn, fuse_conv_bn_relu, fuse_linear_bn
226 folding of batch norms
227 propagate_qconfig_
228 add_observer_
229 add_quant_dequant
230 QuantStub, DeQuantStub
231 QuantWrapper
232 swap_module
233 get_observer_dict
234 register_activation_post_process_hook
235 default_eval_fn
236 default module mappings
237 custom modules
238 mapping=
239 fuse_custom_config_dict
240 inplace=
241 fixed qparams in training
242 quantize_jit, quantize_dynamic_jit

# graph workflows
243 fuse_fx
244 prepare_fx
245 prepare_qat_fx
246 convert_fx
247 convert_fx is_reference
248 qconfig_dict, global
249 qconfig_dict, object_type
250 qconfig_dict, module_name_regex
251 qconfig_dict, module_name
252 qconfig_dict, precedence and None
253 standalone_module_name, class
254 non_traceable_module_name, class
255 custom module classes
256 additional_* mappings
257 input_quantized_idxs, output_quantized_idxs
258 preserved_attributes
259 symbolic tracing
260 fusion patterns
261 sums and products
262 concatenation
263 convolutions and linear layers
264 batch norms
265 embeddings
266 recurrent layers
267 layers with output qparams
268 activations with fixed qparams
269 ops that hand qparams on
270 one observer per tensor
271 dequantize where float is read
272 folding of weights
273 state_dict of converted graphs
274 register_fusion_pattern, register_quant_pattern
275 float16 static pattern

# accuracy tools
276 compare_weights
277 compare_model_stub
278 compare_model_outputs
279 Logger, ShadowLogger, OutputLogger
280 Shadow
281 prepare_model_with_stubs, prepare_model_outputs, get_logger_dict, get_matching_activations
282 extract_weights
283 add_loggers, extract_logger_info
284 add_shadow_loggers, extract_shadow_logger_info
285 matching of two graphs
286 bias_correction
287 cross_layer_equalization
288 equalize, converged

# backends and modes
289 backends.quantized.engine
290 backends.quantized.supported_engines
291 numerics under fbgemm
292 numerics under qnnpack
293 packing chosen by the engine
294 reduced ranges
295 per-channel weights
296 weight-only embeddings of 8, 4 and 2 bits
297 weight-only float16
298 dynamic quantization
"""

# Rows that are to come.
PLANNED: frozenset[int] = frozenset()


def _parse(table: str) -> dict[int, Row]:
    rows, kind = {}, ""
    for line in filter(None, table.splitlines()):
        first, _, rest = line.partition(" ")
        if first == "#":
            kind = rest
        else:
            rows[int(first)] = Row(int(first), rest, kind)
    return rows


ROWS = _parse(_TABLE)
