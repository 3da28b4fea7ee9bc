"""Making things in the background before they are asked for."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar


T = TypeVar("T")


def prefetched(make: Callable[[int], T], count: int, ahead: int) -> Iterator[T]:
    """`make(0)` to `make(count - 1)`, made in this order by one thread, which is up to
    `ahead` of what was taken. With `ahead` 0 there is no thread.

    An error of `make` is raised where its result would have come. The thread ends with
    the iterator, also if that is dropped before its end.
    """
    if ahead == 0:
        yield from map(make, range(count))
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="eventjax-prefetch")
    try:
        waiting = deque(pool.submit(make, k) for k in range(min(ahead, count)))
        for k in range(count):
            result = waiting.popleft().result()
            if k + ahead < count:
                waiting.append(pool.submit(make, k + ahead))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
