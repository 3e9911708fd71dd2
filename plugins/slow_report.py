"""Counts and sums numbers in steps, as a long job does: an async plugin that reports its progress.

Send {"numbers": [3, 1, 2], "step_seconds": 0.2}; every step is logged and kept with the execution.
"""

import asyncio

from bridge_app.plugin import BasePlugin

MAX_NUMBERS = 1000


class Plugin(BasePlugin):
    async def post(self):
        numbers = self.get_data("numbers", [])
        if not isinstance(numbers, list) or not numbers or len(numbers) > MAX_NUMBERS:
            raise ValueError(f"numbers must be a list of 1 to {MAX_NUMBERS} numbers")
        step_seconds = min(max(float(self.get_data("step_seconds", 0.2)), 0.0), 10.0)
        total = 0.0
        for done, number in enumerate(numbers, start=1):
            await asyncio.sleep(step_seconds)
            total += number
            self.logger.info("%d of %d done", done, len(numbers))
        return {"count": len(numbers), "sum": total, "mean": total / len(numbers), "largest": max(numbers)}
