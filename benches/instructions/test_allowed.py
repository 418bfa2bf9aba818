"""That the check can fail, and that it fails for nothing else: without valgrind, and without a proxy."""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import allowed
import run
from allowed import Allowed, Malformed, Threshold, judged, parsed, written
from cases import Case
from counted import Failed

NAMES = ["small_get", "get_1m"]

FILE = """
measured_with = "valgrind 3, glibc 2"
[small_get]
instructions = 10_000
reason = "first"
[get_1m]
instructions = 200_000
reason = "second"
"""


class Judging(unittest.TestCase):
    def test_growth_within_the_tolerance_passes(self) -> None:
        for measured in (10_000, 10_290, 10_300, 9_710):
            self.assertFalse(judged("small_get", measured, Threshold(10_000, "first")).is_failure)

    def test_growth_beyond_it_fails_and_says_by_how_much(self) -> None:
        judgement = judged("small_get", 10_310, Threshold(10_000, "first"))
        self.assertTrue(judgement.is_failure)
        self.assertIn("+3.1%", judgement.text)

    def test_a_case_without_a_threshold_fails(self) -> None:
        self.assertTrue(judged("small_get", 1, None).is_failure)

    def test_what_has_become_cheaper_passes_with_a_hint(self) -> None:
        judgement = judged("small_get", 9_690, Threshold(10_000, "first"))
        self.assertFalse(judgement.is_failure)
        self.assertIn("lower the threshold", judgement.text)


class Reading(unittest.TestCase):
    def test_a_file_says_what_is_allowed_and_why(self) -> None:
        read = parsed(FILE, NAMES)
        self.assertEqual(read.measured_with, "valgrind 3, glibc 2")
        self.assertEqual(read.thresholds["small_get"], Threshold(10_000, "first"))

    def test_each_fault_is_told(self) -> None:
        faults = {
            "[small_get": "at end of document",
            "": "`measured_with`",
            FILE + "[post]\ninstructions = 1\nreason = 'x'": "no case `post`",
            FILE.replace("10_000", "'many'"): "[small_get] `instructions`",
            FILE.replace("10_000", "true"): "[small_get] `instructions`",
            FILE.replace("10_000", "0"): "[small_get] `instructions`",
            FILE.replace('"first"', '" "'): "[small_get] `reason`",
            FILE.replace('reason = "first"', ""): "[small_get] must have",
            FILE + "limit = 1": "[get_1m] must have",
        }
        for text, said in faults.items():
            with self.subTest(said=said), self.assertRaises(Malformed) as caught:
                parsed(text, NAMES)
            self.assertIn(said, str(caught.exception))

    def test_what_is_written_is_read_as_the_same(self) -> None:
        meant = Allowed("valgrind 3", {"get_1m": Threshold(7, 'a "quoted" \\ reason\nof two lines')})
        read = parsed(written(meant, NAMES), NAMES)
        self.assertEqual(read.thresholds["get_1m"], Threshold(7, 'a "quoted" \\ reason of two lines'))

    def test_the_file_at_hand_has_a_threshold_for_each_case(self) -> None:
        self.assertEqual(list(parsed(allowed.FILE.read_text(), run.NAMES).thresholds), run.NAMES)


class Running(unittest.TestCase):
    """The whole of the command, but for the measuring."""

    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.file = Path(folder) / "allowed.toml"
        self.file.write_text(FILE)
        self.figures = {"small_get": 10_000, "get_1m": 200_000}
        self.lack = ""
        self.enterContext(mock.patch.object(allowed, "FILE", self.file))
        self.enterContext(mock.patch.object(run, "lacking", lambda: self.lack))
        self.enterContext(mock.patch.object(run, "surroundings", lambda: "valgrind 3, glibc 2"))
        self.enterContext(mock.patch.object(run, "NAMES", NAMES))
        self.enterContext(mock.patch.object(run, "figure", self.figure))
        self.enterContext(mock.patch.dict(os.environ, {"EVENKEEL_VALGRIND": ""}))

    def figure(self, case: Case, _evenkeel: Path) -> run.Figure:
        return run.Figure(self.figures[case.name], 0.0)

    def run_it(self, *given: str) -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run.main([*given, f"--evenkeel={__file__}"])
        return code, said.getvalue()

    def test_it_passes_where_all_is_allowed(self) -> None:
        self.figures["small_get"] = 10_290
        self.assertEqual(self.run_it()[0], 0)

    def test_it_fails_where_one_case_is_not_and_says_how_to_mend_it(self) -> None:
        self.figures["small_get"] = 10_310
        code, said = self.run_it()
        self.assertEqual(code, 1)
        self.assertRegex(said, r"small_get .* \+3.1%")
        self.assertIn("--cases small_get --move", said)

    def test_it_fails_where_a_threshold_is_missing(self) -> None:
        self.file.write_text(FILE[: FILE.index("[get_1m]")])
        code, said = self.run_it()
        self.assertEqual(code, 1)
        self.assertRegex(said, "get_1m .* has no threshold")
        self.assertIn("failed: get_1m\n", said)

    def test_it_fails_for_a_malformed_file_before_it_measures(self) -> None:
        self.file.write_text("[small_get")
        self.figures.clear()
        code, said = self.run_it()
        self.assertEqual(code, 1)
        self.assertIn("allowed.toml: ", said)

    def test_it_fails_where_nothing_could_be_measured(self) -> None:
        with mock.patch.object(run, "figure", mock.Mock(side_effect=Failed("cut off"))):
            self.assertEqual(self.run_it(), (1, "nothing could be measured: cut off\n"))

    def test_a_machine_that_cannot_count_skips_unless_it_must(self) -> None:
        self.lack = "there is no valgrind"
        self.assertEqual(self.run_it()[0], 0)
        with mock.patch.dict(os.environ, {"EVENKEEL_VALGRIND": "required"}):
            self.assertEqual(self.run_it()[0], 1)

    def test_moving_sets_the_named_thresholds_and_leaves_the_others(self) -> None:
        self.figures = {"small_get": 12_000, "get_1m": 300_000}
        self.assertEqual(self.run_it("--cases", "small_get", "--move", "it does more")[0], 0)
        read = parsed(self.file.read_text(), NAMES).thresholds
        self.assertEqual(read, {"small_get": Threshold(12_000, "it does more"), "get_1m": Threshold(200_000, "second")})

    def test_moving_all_mends_a_file_that_a_merge_has_spoilt(self) -> None:
        self.file.write_text("<<<<<<< ours\n" + FILE)
        self.assertEqual(self.run_it("--move", "set anew")[0], 0)
        self.assertEqual(list(parsed(self.file.read_text(), NAMES).thresholds), NAMES)

    def test_thresholds_of_two_surroundings_are_not_mixed(self) -> None:
        with mock.patch.object(run, "surroundings", lambda: "valgrind 4, glibc 2"):
            code, said = self.run_it("--cases", "small_get", "--move", "another machine")
        self.assertEqual(code, 1)
        self.assertIn("move all at once", said)
        self.assertEqual(self.file.read_text(), FILE)

    def test_nothing_is_moved_without_a_reason(self) -> None:
        with self.assertRaises(SystemExit):
            self.run_it("--move", " ")


if __name__ == "__main__":
    unittest.main()
