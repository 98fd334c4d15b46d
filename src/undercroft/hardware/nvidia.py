"""NVIDIA GPUs: through ``nvidia-smi``, which comes with every driver."""

from __future__ import annotations

from undercroft.hardware.nvidia_smi import QUERY_FIELDS, merge, parse_query, parse_xml, refused_field
from undercroft.hardware.vendor_tools import Found, ToolAnswer, run_tool


def detect() -> Found:
    """GPUs of NVIDIA; none where the driver's tool is not installed."""
    answer, fields = _query()
    if not answer.is_there:
        return Found()
    described = run_tool(["nvidia-smi", "-q", "-x"])
    gpus = merge(parse_query(answer.text, fields), parse_xml(described.text))
    problems = {answer.problem, described.problem} - {""}
    if not gpus and not problems:
        problems = {"nvidia-smi names no GPU"}
    return Found(tuple(gpus), tuple(f"NVIDIA: {problem}" for problem in sorted(problems)))


def _query() -> tuple[ToolAnswer, list[str]]:
    """Asks for everything; a field that an older tool does not know is left out and the question asked again."""
    fields = list(QUERY_FIELDS)
    while True:
        answer = run_tool(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        refused = refused_field(answer.problem)
        if refused not in fields or refused in ("index", "name"):
            return answer, fields
        fields.remove(refused)
