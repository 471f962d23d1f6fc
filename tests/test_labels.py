from __future__ import annotations

import pytest

from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap

# All that str.splitlines takes for the end of a line, whatever a program that reads the file makes of it.
LINE_ENDS = ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("name", ["do{}g", "dog{}", "{}dog"])
def test_a_name_that_ends_a_line_is_refused(name: str, end: str) -> None:
    with pytest.raises(TfaudioError, match=r"Class name '.*'.*; rename the class"):
        LabelMap(("cat", name.format(end)))


def test_text_and_back() -> None:
    labels = LabelMap(("two words, one comma", " dog", "Türklingel", "犬"))
    assert LabelMap.from_text(labels.to_text()) == labels
    assert LabelMap.from_text(labels.to_text().replace("\n", "\r\n")) == labels
    with pytest.raises(TfaudioError, match="u2028"):
        LabelMap.from_text("cat\nd\u2028og\n")
