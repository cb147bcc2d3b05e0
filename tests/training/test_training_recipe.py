"""A recipe refuses what it does not know, and says what it chose."""

from dataclasses import fields
from pathlib import Path

import pytest

from saccade.errors import UsageError
from saccade.training import events
from saccade.training.choices import Facts, choose, handed_classes
from saccade.training.recipe import Recipe, knobs, seconds
from saccade.training.trainers import find


def facts(**changes: object) -> Facts:
    given: dict[str, object] = {
        "train": 500,
        "classes": ("glass", "paper"),
        "counts": (250, 250),
        "exclusive": True,
        "widths": (512,) * 20,
        "heights": (384,) * 20,
        "cores": 2,
        "device": "cpu",
        "bfloat16": True,
        "loss": "cross_entropy",
    }
    return Facts(**{**given, **changes})  # type: ignore[arg-type]


def test_an_unknown_key_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        Recipe.load(None, {"epoch": 3})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", "many", "a whole number"),
        ("epochs", 0, "at least 1"),
        ("optimizer", "adamm", "did you mean 'adam"),
        ("dropout", 2, "0 to 0.95"),
        ("budget", "soon", "a time like"),
        ("flip_vertical", "perhaps", "true or false"),
        ("filters", "a,b", "whole numbers"),
    ],
)
def test_a_value_that_does_not_fit_says_what_was_expected(key: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Recipe().replace_from({key: value})


def test_text_as_typed_becomes_the_right_type() -> None:
    recipe = Recipe.load(None, {"filters": "8,16", "rate": "find", "budget": "1.5m", "smoke": "yes", "erase": "0.5"})
    assert (recipe.filters, recipe.rate, recipe.budget, recipe.smoke, recipe.erase) == (
        (8, 16),
        "find",
        90.0,
        True,
        0.5,
    )
    assert [seconds(t) for t in ("90", "90s", "2h", 5)] == [90, 90, 7200, 5]


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(network='a "b"', epochs=3, filters=(4, 8), cache="/tmp/x")
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml({"epochs": "why"}))
    assert Recipe.load(file) == recipe
    assert "# auto: why" in file.read_text()
    file.write_text("epochs = ")
    with pytest.raises(UsageError, match="not TOML"):
        Recipe.load(file)


def test_every_knob_is_explained() -> None:
    assert all(help for _, _, help in knobs())


def test_choices_fill_every_auto_and_touch_nothing_explicit() -> None:
    choices = choose(Recipe(rate=0.5, size=96), facts())
    left = [k.name for k in fields(Recipe) if choices.recipe.is_auto(k.name)]
    assert left == ["task", "cache"]
    assert choices.recipe.rate == 0.5
    assert choices.recipe.width == 96
    assert choices.recipe.height == 72
    assert all(c.reason for c in choices.chosen)


def test_flips_are_off_where_sides_matter() -> None:
    assert handed_classes(("0", "1", "hand left")) == ["0", "1", "hand left"]
    assert handed_classes(("glass", "plastic")) == []
    assert choose(Recipe(), facts(classes=("0", "1"))).recipe.flip_horizontal is False
    assert choose(Recipe(), facts()).recipe.flip_horizontal is True


def test_tiny_images_get_a_network_that_a_cpu_sees_often() -> None:
    tiny = {"widths": (28,) * 9, "heights": (28,) * 9, "train": 3500, "classes": ("a", "b", "c", "d", "e")}
    short, long = (choose(Recipe.load(None, {"budget": b}), facts(**tiny)).recipe for b in ("1m", "5m"))
    assert (long.network, long.optimizer, long.rate, long.cutmix) == ("residual-32", "nesterov", 0.2, 1.0)
    assert short.cutmix == 0
    asked = choose(Recipe(optimizer="adamw"), facts(**tiny)).recipe
    assert (asked.network, asked.rate, asked.cutmix) == ("residual-32", 0.002, 0)
    gpu = choose(Recipe(), facts(**tiny, device="cuda")).recipe
    assert (gpu.network, gpu.optimizer) == ("residual-64", "adamw")


@pytest.mark.parametrize(
    ("budget", "network", "size"),
    [("100s", "auto", (96, 72)), ("3m", "auto", (96, 72)), ("4m", "auto", (128, 96)),
     ("25m", "auto", (160, 128)), ("1h", "auto", (192, 144)), ("100s", "resnet18", (160, 128))],
)  # fmt: skip
def test_photos_grow_with_the_passes_a_cpu_has_time_for(budget: str, network: str, size: tuple[int, int]) -> None:
    chosen = choose(Recipe.load(None, {"budget": budget, "network": network}), facts()).recipe
    assert (chosen.width, chosen.height) == size


def test_the_average_counts_the_moves_of_the_weights() -> None:
    """Gradients of four batches added up are one move."""
    plain, added, large = (
        choose(Recipe(batch=batch, accumulate=count), facts()).recipe.ema for batch, count in ((8, 1), (8, 4), (32, 1))
    )
    assert added == large != plain


def test_nobody_guesses_how_many_passes_a_budget_holds_on_an_accelerator() -> None:
    recipe = Recipe.load(None, {"budget": "1h"})
    cpu, gpu = (choose(recipe, facts(train=300, device=device)) for device in ("cpu", "cuda"))
    assert cpu.recipe.cutmix == 1
    assert "about 1800 here" in cpu.reasons["cutmix"]
    assert gpu.recipe.cutmix == 0
    assert gpu.reasons["cutmix"].endswith("from 100 passes on; what the budget holds here is not known")


def test_rare_classes_are_weighed() -> None:
    assert choose(Recipe(), facts(counts=(400, 20))).recipe.class_weights == "balanced"


def test_events_survive_json() -> None:
    event = events.Epoch(1, 2, 0.5, 0.6, "accuracy", 0.9, True, 0.01, 100.0, 3.0)
    assert events.from_json(event.to_json()) == event
    assert "accuracy 0.9000 *" in event.text()


def test_an_unknown_trainer_is_refused() -> None:
    with pytest.raises(UsageError, match="no trainer is called 'jax'"):
        find("jax")


@pytest.mark.parametrize("value", ["inf", "1e400", float("inf")])
def test_a_number_without_end_is_no_whole_number(value: object) -> None:
    with pytest.raises(UsageError, match="epochs expects a whole number"):
        Recipe().replace_from({"epochs": value})
