"""How long to wait before the next try: exponential, capped, jittered.

In: which try just failed and one random number. Out: seconds. Never sleeps, reads no clock and draws no random number.
"""

from __future__ import annotations

_LARGEST_EXPONENT = 62  # beyond it every sensible cap is reached, and 2.0**n would overflow at 1,024


def delay_seconds(attempt: int, *, base: float, cap: float, jitter: float) -> float:
    """Seconds to wait after failed try number `attempt` (1, 2, 3 …), never more than `cap`.

    The full delay is `base`, doubled with every try; `jitter` in [0, 1) picks a point in its upper half, so that many
    waiters spread out and yet nobody hammers.

    >>> delay_seconds(3, base=0.5, cap=30.0, jitter=0.5)
    1.5
    """
    if attempt < 1:
        raise ValueError(f"attempt is {attempt}: tries are counted from 1")
    full = min(cap, base * 2.0 ** min(attempt - 1, _LARGEST_EXPONENT))
    return full * (0.5 + jitter / 2)
