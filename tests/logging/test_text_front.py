import io

from rich.console import Console

from wsn.logging.text_front import HEIGHT, WIDTH, text_front

ROWS = [
    {"kind": "smallest", "macs": 1e6, "acc": 0.5, "on_front": True},
    {"kind": "random", "macs": 2e6, "acc": 0.4, "on_front": False},
    {"kind": "random", "macs": 4e6, "acc": 0.75, "on_front": True},
    {"kind": "largest", "macs": 1e8, "acc": 1.0, "on_front": True},
]


def lines(rows):
    out = io.StringIO()
    Console(file=out, width=100).print(text_front(rows, "title"))
    return out.getvalue().splitlines()


def test_marks_stand_where_cost_and_quality_say():
    title, *plot, axis, costs = lines(ROWS)
    assert title == "title"
    assert len(plot) == HEIGHT
    cells = [line[9:].ljust(WIDTH) for line in plot]
    marks = {(x, HEIGHT - 1 - y): c for y, line in enumerate(cells) for x, c in enumerate(line) if c != " "}
    # logarithmic in the cost: 4 M is 30 % of the way from 1 M to 100 M; 75 % lies between 40 % and 100 %
    assert marks == {
        (0, 1): "S", (round(0.1505 * (WIDTH - 1)), 0): "·", (round(0.301 * (WIDTH - 1)), 5): "●",
        (WIDTH - 1, HEIGHT - 1): "L",
    }  # fmt: skip
    assert plot[0].startswith("  100.0 │")
    assert plot[-1].startswith("   40.0 │")
    assert axis.strip() == "└" + "─" * WIDTH
    assert costs.split()[0] == "1"
    assert costs.endswith("100")
    assert "multiply-adds (millions)" in costs


def test_equal_subnets_and_language_models_are_drawn():
    same = [{"kind": "largest", "macs": 1e6, "acc": 0.5, "on_front": True}] * 2
    assert sum(line.count("L") for line in lines(same)[1:-1]) == 1
    text = [{**r, "bits_per_byte": 8 - r["acc"]} for r in ROWS]
    assert lines(text)[1].startswith("    7.6 │")
