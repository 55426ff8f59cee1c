"""What may be published is what the operator has named, whatever way leads there."""

from pathlib import Path

import pytest
from congrad_service.access.models import Allowed, NotAllowedError
from congrad_service.settings import RedisSettings
from pydantic import ValidationError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that is allowed, beside one that is not, with a link from each to the other."""
    for name in ("models/mine", "models-of-others/theirs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "out").symlink_to(tmp_path / "models-of-others")
    (tmp_path / "models-of-others" / "in").symlink_to(tmp_path / "models" / "mine")
    return tmp_path


@pytest.mark.parametrize("path", ["models", "models/mine", "models/mine/../mine", "models-of-others/in", "models/new"])
def test_what_lies_in_an_allowed_folder_may_be_loaded(path: str, root: Path) -> None:
    Allowed(str(root / "models")).check(f"{root}/{path}")


@pytest.mark.parametrize(
    "path",
    ["", "models-of-others/theirs", "models/../models-of-others/theirs", "models/out/theirs", "models/.."],
)
def test_what_only_seems_to_may_not(path: str, root: Path) -> None:
    with pytest.raises(NotAllowedError, match="is not among what the operator allows with CONGRAD_MODELS"):
        Allowed(str(root / "models")).check(f"{root}/{path}")


def test_links_in_a_circle_lead_to_nothing_that_may_be_loaded(root: Path) -> None:
    circle = root / "models" / "mine" / "circle"
    circle.symlink_to(circle)
    allowed = Allowed(str(root / "models"))
    for path in (circle, circle / "next"):
        with pytest.raises(NotAllowedError, match="is not among what the operator allows"):
            allowed.check(str(path))
    with pytest.raises(NotAllowedError, match="'circle' is a link out of what the operator allows"):
        allowed.check_files(root / "models" / "mine")


@pytest.mark.parametrize("path", ["../models", "./x", "~/models", "a/b/c", "", "org/../x", "-x", "org/"])
def test_what_is_neither_a_whole_path_nor_a_name_is_told_apart_from_what_is_not_allowed(path: str) -> None:
    with pytest.raises(
        ValueError, match="is neither a folder from the root on, nor a name on the Hugging Face hub"
    ) as it:
        Allowed("/").check(path)
    assert not isinstance(it.value, NotAllowedError)


def test_names_on_the_hub_are_allowed_one_by_one_or_by_their_organisation() -> None:
    allowed = Allowed("mine/*, theirs/model")
    for name in ("mine/one", "mine/two", "theirs/model"):
        allowed.check(name)
    for name in ("theirs/other", "mine", "yours/one", "/mine/one"):
        with pytest.raises(NotAllowedError):
            allowed.check(name)


def test_nothing_is_allowed_where_the_operator_has_said_nothing() -> None:
    for source in ("/models/mine", "mine/one"):
        with pytest.raises(NotAllowedError, match="the operator has not set CONGRAD_MODELS"):
            Allowed(None).check(source)


def test_a_link_out_of_an_allowed_folder_is_seen_among_its_files(root: Path) -> None:
    mine = root / "models" / "mine"
    (mine / "config.json").symlink_to(root / "models" / "config.json")
    allowed = Allowed(str(root / "models"))
    allowed.check_files(mine)
    (mine / "model.safetensors").symlink_to(root / "models-of-others" / "model.safetensors")
    with pytest.raises(NotAllowedError, match=r"'model\.safetensors' is a link out of what the operator allows"):
        allowed.check_files(mine)


def test_a_link_out_further_down_is_seen_where_that_is_read(root: Path) -> None:
    mine, more = root / "models" / "mine", Path("additional_chat_templates")
    (mine / more).mkdir()
    (mine / more / "tools.jinja").symlink_to(root / "models-of-others" / "model.safetensors")
    with pytest.raises(NotAllowedError, match=r"'additional_chat_templates/tools\.jinja' is a link out of"):
        Allowed(str(root / "models")).check_files(mine, ["*.json", "additional_chat_templates/*.jinja"])
    Allowed(str(root / "models")).check_files(mine)  # of a folder that is not read


@pytest.mark.parametrize("value", ["models", "/models", "/models,org/*,/more", "org/name"])
def test_the_setting_takes_folders_and_names(value: str) -> None:
    assert RedisSettings(models=value).models == value


@pytest.mark.parametrize("value", ["./models", "~/models", ",", "/models,,org", "/models,"])
def test_the_setting_refuses_what_would_allow_something_else_than_it_seems(value: str) -> None:
    with pytest.raises(ValidationError):
        RedisSettings(models=value)
