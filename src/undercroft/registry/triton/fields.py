"""Every field that Triton's ``config.pbtxt`` knows, by message. Data.

A kind is ``text``, ``truth``, ``integer``, ``natural``, ``real``, a message or an enumeration; ``[KIND]`` repeats, and
``{KEY: KIND}`` is a map.

Source: the descriptor of ``ModelConfig`` in ``tritonclient`` 2.73, which is made of ``model_config.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping

ROOT = "ModelConfig"

MESSAGES: Mapping[str, Mapping[str, str]] = {
    "ModelConfig": {
        "name": "text",
        "platform": "text",
        "backend": "text",
        "runtime": "text",
        "version_policy": "ModelVersionPolicy",
        "max_batch_size": "integer",
        "input": "[ModelInput]",
        "output": "[ModelOutput]",
        "batch_input": "[BatchInput]",
        "batch_output": "[BatchOutput]",
        "optimization": "ModelOptimizationPolicy",
        "dynamic_batching": "ModelDynamicBatching",
        "sequence_batching": "ModelSequenceBatching",
        "ensemble_scheduling": "ModelEnsembling",
        "instance_group": "[ModelInstanceGroup]",
        "default_model_filename": "text",
        "cc_model_filenames": "{text: text}",
        "metric_tags": "{text: text}",
        "parameters": "{text: ModelParameter}",
        "model_warmup": "[ModelWarmup]",
        "model_operations": "ModelOperations",
        "model_transaction_policy": "ModelTransactionPolicy",
        "model_repository_agents": "ModelRepositoryAgents",
        "response_cache": "ModelResponseCache",
        "model_metrics": "ModelMetrics",
    },
    "ModelVersionPolicy": {
        "latest": "ModelVersionPolicy.Latest",
        "all": "ModelVersionPolicy.All",
        "specific": "ModelVersionPolicy.Specific",
    },
    "ModelVersionPolicy.Latest": {
        "num_versions": "natural",
    },
    "ModelVersionPolicy.All": {},
    "ModelVersionPolicy.Specific": {
        "versions": "[integer]",
    },
    "ModelInput": {
        "name": "text",
        "data_type": "DataType",
        "format": "ModelInput.Format",
        "dims": "[integer]",
        "reshape": "ModelTensorReshape",
        "is_shape_tensor": "truth",
        "allow_ragged_batch": "truth",
        "optional": "truth",
        "is_non_linear_format_io": "truth",
    },
    "ModelTensorReshape": {
        "shape": "[integer]",
    },
    "ModelOutput": {
        "name": "text",
        "data_type": "DataType",
        "dims": "[integer]",
        "reshape": "ModelTensorReshape",
        "label_filename": "text",
        "is_shape_tensor": "truth",
        "is_non_linear_format_io": "truth",
    },
    "BatchInput": {
        "kind": "BatchInput.Kind",
        "target_name": "[text]",
        "data_type": "DataType",
        "source_input": "[text]",
    },
    "BatchOutput": {
        "target_name": "[text]",
        "kind": "BatchOutput.Kind",
        "source_input": "[text]",
    },
    "ModelOptimizationPolicy": {
        "graph": "ModelOptimizationPolicy.Graph",
        "priority": "ModelOptimizationPolicy.ModelPriority",
        "cuda": "ModelOptimizationPolicy.Cuda",
        "execution_accelerators": "ModelOptimizationPolicy.ExecutionAccelerators",
        "input_pinned_memory": "ModelOptimizationPolicy.PinnedMemoryBuffer",
        "output_pinned_memory": "ModelOptimizationPolicy.PinnedMemoryBuffer",
        "gather_kernel_buffer_threshold": "natural",
        "eager_batching": "truth",
    },
    "ModelOptimizationPolicy.Graph": {
        "level": "integer",
    },
    "ModelOptimizationPolicy.Cuda": {
        "graphs": "truth",
        "busy_wait_events": "truth",
        "graph_spec": "[ModelOptimizationPolicy.Cuda.GraphSpec]",
        "output_copy_stream": "truth",
    },
    "ModelOptimizationPolicy.Cuda.GraphSpec": {
        "batch_size": "integer",
        "input": "{text: ModelOptimizationPolicy.Cuda.GraphSpec.Shape}",
        "graph_lower_bound": "ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound",
    },
    "ModelOptimizationPolicy.Cuda.GraphSpec.Shape": {
        "dim": "[integer]",
    },
    "ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound": {
        "batch_size": "integer",
        "input": "{text: ModelOptimizationPolicy.Cuda.GraphSpec.Shape}",
    },
    "ModelOptimizationPolicy.ExecutionAccelerators": {
        "gpu_execution_accelerator": "[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]",
        "cpu_execution_accelerator": "[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]",
    },
    "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator": {
        "name": "text",
        "parameters": "{text: text}",
    },
    "ModelOptimizationPolicy.PinnedMemoryBuffer": {
        "enable": "truth",
    },
    "ModelDynamicBatching": {
        "preferred_batch_size": "[integer]",
        "max_queue_delay_microseconds": "natural",
        "preserve_ordering": "truth",
        "priority_levels": "natural",
        "default_priority_level": "natural",
        "default_queue_policy": "ModelQueuePolicy",
        "priority_queue_policy": "{natural: ModelQueuePolicy}",
    },
    "ModelQueuePolicy": {
        "timeout_action": "ModelQueuePolicy.TimeoutAction",
        "default_timeout_microseconds": "natural",
        "allow_timeout_override": "truth",
        "max_queue_size": "natural",
    },
    "ModelSequenceBatching": {
        "direct": "ModelSequenceBatching.StrategyDirect",
        "oldest": "ModelSequenceBatching.StrategyOldest",
        "max_sequence_idle_microseconds": "natural",
        "control_input": "[ModelSequenceBatching.ControlInput]",
        "state": "[ModelSequenceBatching.State]",
        "iterative_sequence": "truth",
    },
    "ModelSequenceBatching.StrategyDirect": {
        "max_queue_delay_microseconds": "natural",
        "minimum_slot_utilization": "real",
    },
    "ModelSequenceBatching.StrategyOldest": {
        "max_candidate_sequences": "integer",
        "preferred_batch_size": "[integer]",
        "max_queue_delay_microseconds": "natural",
        "preserve_ordering": "truth",
    },
    "ModelSequenceBatching.ControlInput": {
        "name": "text",
        "control": "[ModelSequenceBatching.Control]",
    },
    "ModelSequenceBatching.Control": {
        "kind": "ModelSequenceBatching.Control.Kind",
        "int32_false_true": "[integer]",
        "fp32_false_true": "[real]",
        "bool_false_true": "[truth]",
        "data_type": "DataType",
    },
    "ModelSequenceBatching.State": {
        "input_name": "text",
        "output_name": "text",
        "data_type": "DataType",
        "dims": "[integer]",
        "initial_state": "[ModelSequenceBatching.InitialState]",
        "use_same_buffer_for_input_output": "truth",
        "use_growable_memory": "truth",
    },
    "ModelSequenceBatching.InitialState": {
        "data_type": "DataType",
        "dims": "[integer]",
        "zero_data": "truth",
        "data_file": "text",
        "name": "text",
    },
    "ModelEnsembling": {
        "step": "[ModelEnsembling.Step]",
        "max_inflight_requests": "natural",
    },
    "ModelEnsembling.Step": {
        "model_name": "text",
        "model_version": "integer",
        "input_map": "{text: text}",
        "output_map": "{text: text}",
        "model_namespace": "text",
    },
    "ModelInstanceGroup": {
        "name": "text",
        "kind": "ModelInstanceGroup.Kind",
        "count": "integer",
        "rate_limiter": "ModelRateLimiter",
        "gpus": "[integer]",
        "secondary_devices": "[ModelInstanceGroup.SecondaryDevice]",
        "profile": "[text]",
        "passive": "truth",
        "host_policy": "text",
    },
    "ModelRateLimiter": {
        "resources": "[ModelRateLimiter.Resource]",
        "priority": "natural",
    },
    "ModelRateLimiter.Resource": {
        "name": "text",
        "global": "truth",
        "count": "natural",
    },
    "ModelInstanceGroup.SecondaryDevice": {
        "kind": "ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind",
        "device_id": "integer",
    },
    "ModelParameter": {
        "string_value": "text",
    },
    "ModelWarmup": {
        "name": "text",
        "batch_size": "natural",
        "inputs": "{text: ModelWarmup.Input}",
        "count": "natural",
    },
    "ModelWarmup.Input": {
        "data_type": "DataType",
        "dims": "[integer]",
        "zero_data": "truth",
        "random_data": "truth",
        "input_data_file": "text",
    },
    "ModelOperations": {
        "op_library_filename": "[text]",
    },
    "ModelTransactionPolicy": {
        "decoupled": "truth",
    },
    "ModelRepositoryAgents": {
        "agents": "[ModelRepositoryAgents.Agent]",
    },
    "ModelRepositoryAgents.Agent": {
        "name": "text",
        "parameters": "{text: text}",
    },
    "ModelResponseCache": {
        "enable": "truth",
    },
    "ModelMetrics": {
        "metric_control": "[ModelMetrics.MetricControl]",
    },
    "ModelMetrics.MetricControl": {
        "metric_identifier": "ModelMetrics.MetricControl.MetricIdentifier",
        "histogram_options": "ModelMetrics.MetricControl.HistogramOptions",
    },
    "ModelMetrics.MetricControl.MetricIdentifier": {
        "family": "text",
    },
    "ModelMetrics.MetricControl.HistogramOptions": {
        "buckets": "[real]",
    },
}

ENUMS: Mapping[str, tuple[str, ...]] = {
    "DataType": (
        "TYPE_INVALID",
        "TYPE_BOOL",
        "TYPE_UINT8",
        "TYPE_UINT16",
        "TYPE_UINT32",
        "TYPE_UINT64",
        "TYPE_INT8",
        "TYPE_INT16",
        "TYPE_INT32",
        "TYPE_INT64",
        "TYPE_FP16",
        "TYPE_FP32",
        "TYPE_FP64",
        "TYPE_STRING",
        "TYPE_BF16",
    ),
    "ModelInput.Format": ("FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"),
    "BatchInput.Kind": (
        "BATCH_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT",
        "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
        "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
        "BATCH_ITEM_SHAPE",
        "BATCH_ITEM_SHAPE_FLATTEN",
    ),
    "BatchOutput.Kind": ("BATCH_SCATTER_WITH_INPUT_SHAPE",),
    "ModelOptimizationPolicy.ModelPriority": ("PRIORITY_DEFAULT", "PRIORITY_MAX", "PRIORITY_MIN"),
    "ModelQueuePolicy.TimeoutAction": ("REJECT", "DELAY"),
    "ModelSequenceBatching.Control.Kind": (
        "CONTROL_SEQUENCE_START",
        "CONTROL_SEQUENCE_READY",
        "CONTROL_SEQUENCE_END",
        "CONTROL_SEQUENCE_CORRID",
    ),
    "ModelInstanceGroup.Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
    "ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind": ("KIND_NVDLA",),
}

# Of these fields of a message at most one may be there.
CHOICES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ModelConfig": (("dynamic_batching", "sequence_batching", "ensemble_scheduling"),),
    "ModelVersionPolicy": (("latest", "all", "specific"),),
    "ModelSequenceBatching": (("direct", "oldest"),),
    "ModelSequenceBatching.InitialState": (("zero_data", "data_file"),),
    "ModelWarmup.Input": (("zero_data", "random_data", "input_data_file"),),
}
