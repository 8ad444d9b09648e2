"""Published weights: fetched from a server on this machine that does what real ones do."""

import errno
import hashlib
import os
import re
import socket

import checkpoints as c
import numpy as np
import pytest
from cli_checks import run
from layouts import to_timm
from loopback import Answer, serve

from rvcnn.errors import DownloadError, UsageError
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES
from rvcnn.weights import fetch as fetching
from rvcnn.weights import load_weights
from rvcnn.weights import pull as pulling
from rvcnn.weights.convert import PRESETS
from rvcnn.weights.fetch import fetch
from rvcnn.weights.published import PUBLISHED, Published
from rvcnn.weights.pull import pull, weights_folder

NAME = "timm/a_net.in1k"


@pytest.fixture(scope="module")
def checkpoint():
    """A checkpoint in timm's layout."""
    model = create_model("mobilenetv3_small", weights="random", num_classes=4)
    kept = {k: v for k, v in model.weights.tensors.items() if not k.startswith("embed.")}
    return c.as_zip(to_timm(kept, "mobilenetv3_small"))


@pytest.fixture
def site(checkpoint, monkeypatch):
    """A server that has the checkpoint."""
    monkeypatch.setattr(fetching, "PAUSE", 0.001)
    with serve(checkpoint) as site:
        yield site


@pytest.fixture
def publish(site, monkeypatch, tmp_path):
    """Put the checkpoint into the table under a file name; the cache is empty."""
    monkeypatch.setattr(pulling, "user_cache", lambda: tmp_path / "cache")

    def publish(file, url=None):
        published = Published(f"{url or site.url}/{file}", "timm", {"license": "none"})
        monkeypatch.setattr(pulling, "PUBLISHED", {NAME: published})

    publish(f"a_net-{hashlib.sha256(site.content).hexdigest()[:8]}.pth")
    return publish


def digest(content):
    return hashlib.sha256(content).hexdigest()


# --- fetching a file ----------------------------------------------------------------------------


def test_a_file_is_fetched_whole_and_its_digest_returned(site, tmp_path):
    seen = []
    found = fetch(site.url, tmp_path / "f", progress=lambda *now: seen.append(now))
    assert found == digest(site.content)
    assert (tmp_path / "f").read_bytes() == site.content
    assert seen[-1] == (len(site.content),) * 2 and seen == sorted(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("length", [True, False])
def test_a_cut_connection_is_continued_where_it_was_cut(site, tmp_path, length):
    if not length:
        site.content = site.content[:300_000]  # without a length only the digest tells the end
    site.answers = [Answer(cut=100_000), Answer(cut=1), Answer(cut=50_000), Answer(length=length)]
    assert fetch(site.url, tmp_path / "f") == digest(site.content)
    assert [asked for _, asked in site.requests] == [
        None,
        "bytes=100000-",
        "bytes=100001-",
        "bytes=150001-",
    ]


def test_what_an_earlier_call_left_is_continued(site, tmp_path):
    (tmp_path / "f.part").write_bytes(site.content[:70_000])
    assert fetch(site.url, tmp_path / "f", digest(site.content)) == digest(site.content)
    assert site.requests == [("/files", "bytes=70000-")]


def test_a_server_that_does_not_continue_begins_again(site, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    site.answers = [Answer(ranges=False)]
    assert fetch(site.url, tmp_path / "f") == digest(site.content)
    assert len(site.requests) == 1


def test_another_part_than_was_asked_for_is_never_put_in_its_place(site, tmp_path):
    (tmp_path / "f.part").write_bytes(site.content[:1000])
    site.answers = [Answer(shifted=5), Answer()]
    assert fetch(site.url, tmp_path / "f") == digest(site.content)
    assert [asked for _, asked in site.requests] == ["bytes=1000-", None]


def test_the_rest_of_another_file_is_given_up(site, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    assert fetch(site.url, tmp_path / "f", digest(site.content)) == digest(site.content)
    assert [asked for _, asked in site.requests] == ["bytes=1000-", None]


@pytest.mark.parametrize("more", [0, 10])
def test_a_part_that_is_complete_or_longer(site, tmp_path, more):
    (tmp_path / "f.part").write_bytes(site.content + b"x" * more)
    assert fetch(site.url, tmp_path / "f") == digest(site.content)


def test_connections_that_bring_nothing_are_given_up(site, tmp_path):
    site.answers = [Answer(cut=1000), Answer(cut=0)]
    with pytest.raises(DownloadError, match=r"cut after 1000 of \d+ bytes"):
        fetch(site.url, tmp_path / "f")
    assert len(site.requests) == 1 + fetching.ATTEMPTS
    assert (tmp_path / "f.part").read_bytes() == site.content[:1000]


def test_a_server_that_always_begins_again_and_is_always_cut_is_given_up(site, tmp_path):
    site.answers = [Answer(cut=n, ranges=False) for n in (900, 400, 500, 600, 700, 800)]
    with pytest.raises(DownloadError, match="cut after"):
        fetch(site.url, tmp_path / "f")
    assert len(site.requests) == 1 + fetching.ATTEMPTS


def test_a_server_that_is_busy_is_asked_again(site, tmp_path):
    site.answers = [Answer(503), Answer(429), Answer()]
    assert fetch(site.url, tmp_path / "f") == digest(site.content)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_that_refuses_is_not_asked_again(site, tmp_path, status):
    site.answers = [Answer(status)]
    with pytest.raises(DownloadError, match=rf"{re.escape(site.url)}: the server answers {status}"):
        fetch(site.url, tmp_path / "f")
    assert len(site.requests) == 1 and list(tmp_path.iterdir()) == []


def test_a_wrong_digest_leaves_nothing(site, tmp_path):
    with pytest.raises(DownloadError, match=f"has the sha256 {digest(site.content)}, not 12345678"):
        fetch(site.url, tmp_path / "f", "12345678")
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed(site, tmp_path):
    site.answers = [Answer(302, location=f"{site.url}/elsewhere"), Answer()]
    assert fetch(site.url, tmp_path / "f") == digest(site.content)
    assert [path for path, _ in site.requests] == ["/files", "/files/elsewhere"]


def test_a_redirect_in_a_circle_is_an_error(site, tmp_path):
    site.answers = [Answer(302, location=site.url)]
    with pytest.raises(DownloadError, match="302"):
        fetch(site.url, tmp_path / "f")


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://127.0.0.1/f", "gopher://x"])
def test_a_redirect_to_another_kind_of_place_is_refused(site, tmp_path, there):
    site.answers = [Answer(302, location=there)]
    with pytest.raises(DownloadError):
        fetch(site.url, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_redirect_never_leaves_an_encrypted_connection():
    import urllib.request

    redirects = fetching._Redirects()
    request = urllib.request.Request("https://example.org/a")
    arguments = (None, 302, "Found", {})
    with pytest.raises(DownloadError, match="redirects to http://example.org/b, which is not enc"):
        redirects.redirect_request(request, *arguments, "http://example.org/b")
    followed = redirects.redirect_request(request, *arguments, "https://example.org/b")
    assert followed.full_url == "https://example.org/b"


def test_a_file_without_end_is_given_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "LARGEST", 100_000)
    with pytest.raises(DownloadError, match="more than 100000"):
        fetch(site.url, tmp_path / "f")
    site.answers = [Answer(length=False)]
    with pytest.raises(DownloadError, match="does not end after 100000"):
        fetch(site.url, tmp_path / "f")


def test_a_full_disk_keeps_what_there_is_and_says_so(site, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetching.os, "fsync", full)
    with pytest.raises(DownloadError, match=rf"f\.part: {os.strerror(errno.ENOSPC)}; .* is kept"):
        fetch(site.url, tmp_path / "f")
    monkeypatch.undo()
    assert not (tmp_path / "f").exists() and (tmp_path / "f.part").exists()
    assert fetch(site.url, tmp_path / "f") == digest(site.content)


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0.001)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        with pytest.raises(DownloadError, match="cannot fetch"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/f", tmp_path / "f")


# --- pulling weights ----------------------------------------------------------------------------


def test_pulled_weights_are_converted_and_say_where_they_are_from(site, publish):
    path = pull(NAME)
    assert path == weights_folder() / "timm-a_net.in1k.safetensors"
    metadata = load_weights(path).metadata
    assert PRESETS["timm"].items() <= metadata.items()
    assert metadata["source"].startswith(site.url) and metadata["license"] == "none"
    assert metadata["source_sha256"] == digest(site.content)
    x = np.ones((1, 32, 32, 3), np.float32)
    assert create_model(weights=path)(x).shape == (1, 4)
    record = next(weights_folder().glob("*.sha256")).read_text()
    assert record.split()[0] == digest(site.content)


def test_pulling_again_touches_neither_network_nor_file(site, publish):
    before = pull(NAME).stat().st_mtime_ns
    site.answers = [Answer(404)]
    assert pull(NAME, sha256=digest(site.content)[:12].upper()).stat().st_mtime_ns == before
    assert len(site.requests) == 1


def test_a_name_with_another_digest_than_the_files(site, publish):
    publish("a_net-00000000.pth")
    with pytest.raises(DownloadError, match="not 00000000"):
        pull(NAME)
    assert list(weights_folder().iterdir()) == []


def test_a_digest_that_is_asked_for(site, publish):
    publish("a_net.pth")
    with pytest.raises(DownloadError, match="not abcdef01"):
        pull(NAME, sha256="abcdef01")
    assert pull(NAME, sha256=digest(site.content))
    with pytest.raises(DownloadError, match="not abcdef01: delete it"):
        pull(NAME, sha256="abcdef01")
    with pytest.raises(UsageError, match="'nothing like it'; `rvcnn weights pull` lists them"):
        pulling.pull("nothing like it")
    with pytest.raises(UsageError, match="hexadecimal"):
        pull(NAME, sha256="sha256:12")


def test_a_file_that_has_changed_since_the_first_time(site, publish):
    publish("a_net.pth")
    converted = pull(NAME)
    original = weights_folder() / "a_net.pth"
    original.write_bytes(site.content + b"x")
    with pytest.raises(DownloadError, match=f"not {digest(site.content)}: delete it"):
        pull(NAME)
    original.unlink()
    assert pull(NAME) == converted


def test_a_file_that_was_put_there_by_hand(site, publish):
    site.answers = [Answer(404)]
    publish("a_net.pth")
    with pytest.raises(DownloadError) as caught:
        pull(NAME)
    told = re.search(r"put the file (\S+) into (\S+) and run", str(caught.value))
    assert told[1] == "a_net.pth" and told[2] == str(weights_folder())
    (weights_folder() / told[1]).write_bytes(site.content)
    assert create_model(weights=pull(NAME)).dim == 4


def test_a_converted_file_that_is_damaged_is_made_anew(site, publish):
    path = pull(NAME)
    good = path.read_bytes()
    path.write_bytes(good[:1000])
    assert pull(NAME).read_bytes() == good
    assert len(site.requests) == 1


def test_the_command(site, publish, monkeypatch):
    result = run("weights", "pull", NAME)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{pull(NAME)}\n"
    result = run("weights", "pull", "timm/a_net")
    assert result.exit_code == 2 and NAME in result.stderr
    publish("b-00000000.pth")
    result = run("weights", "pull", NAME)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1


def test_the_command_without_a_name_lists_them_all():
    result = run("weights", "pull")
    assert result.exit_code == 0 and result.stdout.split() == list(PUBLISHED)


def test_the_table():
    assert len({published.url for published in PUBLISHED.values()}) == len(PUBLISHED)
    for published in PUBLISHED.values():
        assert re.fullmatch(r"https://[a-z./0-9A-Z_-]+\.pth", published.url)
        assert re.fullmatch("[0-9a-f]{8,10}", published.digest)
        assert published.preset in PRESETS and published.metadata["license"]
        assert published.metadata["architecture"] in ARCHITECTURES
