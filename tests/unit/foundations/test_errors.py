import inspect
import re

from aforo import errors
from aforo.errors import AforoError


def classes() -> dict[str, type[AforoError]]:
    return {name: item for name, item in vars(errors).items() if inspect.isclass(item) and issubclass(item, AforoError)}


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    drawn = dict(re.findall(r"^ *[│├└─ ]*(\w+) +(\d+) {2,}\w", errors.__doc__ or "", flags=re.MULTILINE))
    assert drawn == {name: str(item.exit_code) for name, item in classes().items()}


def test_a_hint_is_on_a_line_of_its_own():
    assert str(AforoError("no model 'x'", hint="run `aforo list`")) == "no model 'x'\nhint: run `aforo list`"
