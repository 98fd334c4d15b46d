"""NVIDIA GPUs: through the management library, else through ``nvidia-smi``; both come with every driver."""

from __future__ import annotations

from undercroft.hardware.machine import Accelerator
from undercroft.hardware.nvidia_smi import QUERY_FIELDS, merge, parse_query, parse_xml, refused_field
from undercroft.hardware.nvml import NvmlProblemError, read_gpus
from undercroft.hardware.vendor_tools import Found, ToolAnswer, run_tool


def detect() -> Found:
    """GPUs of NVIDIA; none where its driver is not installed."""
    problems = set()
    try:
        found = read_gpus()
    except NvmlProblemError as error:
        found, problems = None, {str(error)}
    if found:
        return Found(tuple(found))
    by_tool, of_tool = _detect_by_tool()
    if by_tool:
        return Found(tuple(by_tool), tuple(f"NVIDIA: {problem}" for problem in sorted(of_tool)))
    return Found((), tuple(f"NVIDIA: {problem}" for problem in sorted(problems | of_tool)))


def _detect_by_tool() -> tuple[list[Accelerator], set[str]]:
    answer, fields = _query()
    if not answer.is_there:
        return [], set()
    described = run_tool(["nvidia-smi", "-q", "-x"])
    gpus = merge(parse_query(answer.text, fields), parse_xml(described.text))
    problems = {answer.problem, described.problem} - {""}
    return gpus, problems or (set() if gpus else {"nvidia-smi names no GPU"})


def _query() -> tuple[ToolAnswer, list[str]]:
    """Asks for everything; a field that an older tool does not know is left out and the question asked again."""
    fields = list(QUERY_FIELDS)
    while True:
        answer = run_tool(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        refused = refused_field(answer.problem)
        if refused not in fields or refused in ("index", "name"):
            return answer, fields
        fields.remove(refused)
