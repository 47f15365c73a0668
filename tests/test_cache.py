"""The cache on disk: what it keeps, what it survives, and that it never stops the work."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlation_cli.cache import Cache, key_of

MEGABYTE = 1_000_000


@pytest.fixture
def cache(tmp_path: Path):
    opened = Cache("text", MEGABYTE, tmp_path)
    yield opened
    opened.close()


def test_what_was_put_is_there_in_another_process_and_after_closing(cache: Cache, tmp_path: Path) -> None:
    cache.put_many({"a": b"1", "b": b"\x00\xff"})
    cache.close()
    assert cache.get_many(["a", "b", "c"]) == {"a": b"1", "b": b"\x00\xff"}
    assert Cache("text", MEGABYTE, tmp_path).get_many(["b"]) == {"b": b"\x00\xff"}


def test_many_keys_in_one_call(cache: Cache) -> None:
    values = {f"k{n}": str(n).encode() for n in range(2345)}
    cache.put_many(values)
    assert cache.get_many(values) == values


def test_a_new_value_replaces_the_old(cache: Cache) -> None:
    cache.put_many({"a": b"1"})
    cache.put_many({"a": b"2"})
    assert cache.get_many(["a"]) == {"a": b"2"}


def test_a_key_depends_on_every_part_and_on_where_parts_end() -> None:
    keys = {
        key_of("ab", "c"),
        key_of("a", "bc"),
        key_of("abc"),
        key_of("ab", "c", ""),
        key_of(1),
        key_of("1"),
        key_of(1.0),
    }
    assert len(keys) == 7
    assert key_of("é", b"\xff", 2) == key_of("é", b"\xff", 2)
    assert key_of("\ud800")  # a lone surrogate is text too


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=4), st.lists(st.one_of(st.text(), st.binary()), max_size=4))
def test_different_parts_have_different_keys(one: list[str | bytes], other: list[str | bytes]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


def test_it_stays_below_its_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    cache = Cache("audio", MEGABYTE, tmp_path)
    for n in range(300):
        cache.put_many({f"k{n}": os.urandom(10_000)})
    assert cache.path.stat().st_size <= MEGABYTE * 1.1
    kept = cache.get_many([f"k{n}" for n in range(300)])
    assert 50 < len(kept) < 100
    assert sorted(int(key[1:]) for key in kept) == list(range(300 - len(kept), 300))
    cache.put_many({"huge": bytes(2 * MEGABYTE)})
    assert cache.get_many(["huge", "k299"]).keys() == {"k299"}
    cache.close()


def test_a_file_that_is_no_database_is_set_aside(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    cache.path.write_bytes(b"this is no database" * 1000)
    assert cache.get_many(["a"]) == {}
    cache.put_many({"a": b"1"})
    assert cache.get_many(["a"]) == {"a": b"1"}
    assert cache.path.with_suffix(".damaged").exists()
    assert len(caplog.records) == 1


def test_a_damaged_page_is_survived(cache: Cache) -> None:
    cache.put_many({f"k{n}": os.urandom(3000) for n in range(100)})
    cache.close()
    size = cache.path.stat().st_size
    with cache.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    cache.get_many([f"k{n}" for n in range(100)])
    cache.put_many({"new": b"1"})
    assert cache.get_many(["new"]) == {"new": b"1"}


def test_a_flipped_bit_in_a_value_is_a_miss(cache: Cache) -> None:
    cache.put_many({"a": b"0123456789"})
    cache.close()
    cache.path.write_bytes(cache.path.read_bytes().replace(b"0123456789", b"0123456788"))
    assert cache.get_many(["a"]) == {}


def test_a_folder_that_cannot_be_made_means_uncached_after_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache("text", MEGABYTE, tmp_path / "file" / "below")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.put_many({"a": b"1"})
            assert cache.get_many(["a"]) == {}
    assert len(caplog.records) == 1


def test_a_file_that_another_process_holds_costs_time_but_no_failure(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlation_cli.cache._BUSY_TIMEOUT_S", 0.05)
    cache.put_many({"a": b"1"})
    cache.close()
    other = sqlite3.connect(cache.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache.put_many({"b": b"2"})
    assert cache.get_many(["a"]) == {}
    other.execute("ROLLBACK")
    other.close()
    cache.put_many({"b": b"2"})
    assert cache.get_many(["a", "b"]) == {"a": b"1", "b": b"2"}


def test_a_bound_of_zero_keeps_nothing_and_makes_no_file(tmp_path: Path) -> None:
    cache = Cache("text", 0, tmp_path)
    cache.put_many({"a": b"1"})
    assert cache.get_many(["a"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_it_lies_in_the_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STREAMLATION_CACHE_DIR", str(tmp_path / "mine"))
    cache = Cache("text", MEGABYTE)
    cache.put_many({"a": b"1"})
    cache.close()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["text.1.sqlite3"]


def test_threads_share_it(cache: Cache) -> None:
    def work(number: int) -> None:
        for step in range(20):
            cache.put_many({f"{number}-{step}": b"x"})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.get_many([f"{number}-{step}" for number in range(4) for step in range(20)])) == 80


def test_processes_share_it(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from streamlation_cli.cache import Cache\n"
        "cache = Cache('text', 10**6, pathlib.Path(sys.argv[1]))\n"
        "for n in range(50): cache.put_many({f'{sys.argv[2]}-{n}': b'x' * 100})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(n)]) for n in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    cache = Cache("text", MEGABYTE, tmp_path)
    assert len(cache.get_many([f"{p}-{n}" for p in range(3) for n in range(50)])) == 150
    cache.close()


@settings(max_examples=20, deadline=None)
@given(values=st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=8))
def test_any_key_and_value_come_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = Cache("text", MEGABYTE, folder)
    cache.put_many(values)
    assert cache.get_many(values) == values
    cache.close()
