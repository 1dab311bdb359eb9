"""diffsmooth: diversity collapse in RL fine-tuning, checked, simulated and trained.

Source: *Differential Smoothing Mitigates Sharpening and Improves LLM Reasoning*
(arXiv 2511.19942).  The parts: :mod:`diffsmooth.theory`, :mod:`diffsmooth.sim`,
:mod:`diffsmooth.llm`.  Nothing is imported here, so ``import diffsmooth`` is instant.
"""

__version__ = "0.1.0"
