"""The page holds what the card says, and no name can become markup."""

from pathlib import Path

from saccade.evaluation import report
from saccade.types import Case, Matrix, Number, Scorecard, Table

EVIL = "<script>alert(1)</script>\"'&"


def test_every_text_is_escaped(tmp_path: Path) -> None:
    card = Scorecard(
        "t", EVIL, 2, (Number("accuracy", 0.5, 0.1, 0.9, 2),), (Table(EVIL, (EVIL,), ((EVIL,),), EVIL),),
        matrices=(Matrix(EVIL, (EVIL,), (EVIL,), ((2.0,),), EVIL),), worst=(Case(EVIL, 1.0, EVIL, EVIL),),
    )  # fmt: skip
    file = tmp_path / "report.html"
    report.write(file, card, title=EVIL, comparison=EVIL, provenance={EVIL: EVIL})
    page = file.read_text()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "Content-Security-Policy" in page
    assert "0.1000 to 0.9000" in page
