"""What the supervisor sees of each process from outside: that it runs, what it takes, how often it was restarted."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from laptop.metrics.exposition import LABEL
from laptop.supervisor import StackStatus


def families(status: StackStatus, answered: dict[str, bool]) -> list[Metric]:
    """The status as metrics; `answered` says which processes gave metrics of their own."""
    up = GaugeMetricFamily("deskmesh_process_up", "Whether the process is ready.", labels=(LABEL,))
    restarts = CounterMetricFamily("deskmesh_process_restarts", "Starts after the first.", labels=(LABEL,))
    memory = GaugeMetricFamily(
        "deskmesh_process_resident_memory_bytes", "Memory of the process and what it started.", labels=(LABEL,)
    )
    # Descendants that ended take their time with them, so it may fall.
    seconds = GaugeMetricFamily(
        "deskmesh_process_cpu_seconds", "Processor time of the process and what it started.", labels=(LABEL,)
    )
    scraped = GaugeMetricFamily(
        "deskmesh_process_metrics_up", "Whether the process gave its own metrics.", labels=(LABEL,)
    )
    for one in status["processes"]:
        label = (one["name"],)
        up.add_metric(label, float(one["state"] == "ready"))
        restarts.add_metric(label, one["restarts"])
        memory.add_metric(label, one["rss_bytes"])
        seconds.add_metric(label, one["cpu_seconds"])
    for name, fine in answered.items():
        scraped.add_metric((name,), float(fine))
    ready = GaugeMetricFamily(
        "deskmesh_stack_ready", "Whether every part of the stack is ready.", value=float(status["ready"])
    )
    return [up, restarts, memory, seconds, scraped, ready]
