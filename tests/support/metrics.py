"""Reading metrics as Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


def parsed(text: str) -> dict[str, dict[Labels, float]]:
    """The series of each sample's name, by their labels."""
    series: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return series


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the series of a name that have these labels, whatever others they have; 0 without any."""
    found = parsed(text).get(name, {})
    return sum(number for own, number in found.items() if labels.items() <= dict(own).items())
