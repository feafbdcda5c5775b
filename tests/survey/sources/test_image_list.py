"""Rolls: a fixed order, read by number from any folder, thread or process, the same for the same data and seed."""

import os
import pickle
import tarfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import encode_png
from phosphene.survey.sources.image_list import Entry, list_images, read


def png(number):
    """A picture that tells its number: 4 × 5 pixels of one red."""
    return encode_png(np.full((4, 5, 3), (number % 256, number // 256, 7), np.uint8))


def number_of(picture):
    return int(picture.pixels[0, 0, 0]) + 256 * int(picture.pixels[0, 0, 1])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}.png").write_bytes(png(number))
    return folder


@pytest.fixture
def everywhere(photos, tmp_path):
    """The same twenty pictures as files, in a tar, and in a zip both stored and deflated."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar, zipfile.ZipFile(tmp_path / "b.ZIP", "w") as archive:
        for path in sorted(photos.iterdir()):
            tar.add(path, path.name)
            packing = zipfile.ZIP_DEFLATED if int(path.stem) % 2 else zipfile.ZIP_STORED
            archive.write(path, f"inner/{path.name}", packing)
    return [photos, tmp_path / "a.tar", tmp_path / "b.ZIP"]


def refused(kind=ImageError, call=list_images, /, *args, **options):
    with pytest.raises(kind) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


def test_a_list_is_numbered_entries_that_load_and_read_back_alike(everywhere):
    images = list_images(everywhere)
    assert len(images) == len(images.entries) == 60
    for number, entry in enumerate(images):
        assert entry == images[number] == images.entries[number]
        loaded, again = images.load(number), read(entry.source)
        assert number_of(loaded) == number_of(again) == number % 20
        assert loaded.path == again.path == entry.source
        assert loaded.sha256 == again.sha256 == files.sha256(png(number % 20))
    assert images.sources[20].endswith("/a.tar::00.png")
    assert images.sources[41].endswith("/b.ZIP::inner/01.png")


def test_many_threads_read_what_one_reads(everywhere):
    images = list_images(everywhere)
    numbers = list(range(60)) * 5
    with ThreadPoolExecutor(8) as pool:
        assert [number_of(picture) for picture in pool.map(images.load, numbers)] == [number % 20 for number in numbers]
        sources = [images.sources[number] for number in numbers]
        assert [number_of(picture) for picture in pool.map(read, sources)] == [number % 20 for number in numbers]


def test_a_list_pickles_and_still_loads(everywhere):
    images = list_images(everywhere)
    again = pickle.loads(pickle.dumps(images))
    assert again.entries == images.entries
    assert again.digest == images.digest
    assert number_of(again.load(25)) == 5


def test_sources_open_from_any_working_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = list_images("photos")
    assert list_images("./photos/../photos/*.png").digest == list_images(photos).digest == by_name.digest
    monkeypatch.chdir("/")
    assert number_of(by_name.load(3)) == number_of(read(by_name[3].source)) == 3


def test_what_a_link_in_a_folder_is_called_stays(photos):
    (photos / "zz.png").symlink_to("05.png")
    (photos / "blob").write_bytes(png(77))
    (photos / "zzz.png").symlink_to("blob")
    images = list_images(photos)
    assert [source.rpartition("/")[2] for source in images.sources[-2:]] == ["zz.png", "zzz.png"]
    assert [number_of(images.load(number)) for number in (20, 21)] == [5, 77]


def test_the_digest_follows_sources_labels_and_order(photos):
    before = list_images(photos)
    assert before.digest == list_images(str(photos)).digest
    seen = {before.digest, list_images(sorted(photos.iterdir(), reverse=True)).digest}
    (photos / "20.png").write_bytes(png(20))
    seen.add(list_images(photos).digest)
    table = photos / "table.csv"
    for label in ("a", "b"):
        table.write_text("path,label\n" + "".join(f"{number:02d}.png,{label}\n" for number in range(20)))
        seen.add(list_images(table).digest)
    assert list_images(table, labels="none").digest == before.digest
    assert len(seen) == 5


def test_the_digest_cannot_be_fooled_by_where_one_name_ends(tmp_path):
    for name, text in (("a", "path,label\nab.png,c\n"), ("b", 'path,label\na.png,"b.png"\n')):
        (tmp_path / f"{name}.csv").write_text(text)
    assert list_images(tmp_path / "a.csv").digest != list_images(tmp_path / "b.csv").digest


def test_a_limit_keeps_the_order_and_is_a_matter_of_the_seed(photos):
    whole = list_images(photos)
    some = list_images(photos, limit=7, seed=3)
    assert len(some) == 7
    assert list(some.sources) == [source for source in whole.sources if source in some.sources]
    assert some.digest == list_images(photos, limit=7, seed=3).digest
    assert some.digest != list_images(photos, limit=7, seed=4).digest
    assert [number_of(some.load(number)) for number in range(7)] == [
        whole.sources.index(source) for source in some.sources
    ]
    assert list_images(photos, limit=20).digest == list_images(photos, limit=99, seed=5).digest == whole.digest


def test_the_choice_of_a_seed_does_not_change_with_the_version(photos):
    names = [source[-6:-4] for source in list_images(photos, limit=5, seed=0).sources]
    raw = np.random.PCG64(0).random_raw(20)
    assert names == sorted(f"{number:02d}" for number in np.argsort(raw)[:5])
    assert names == ["02", "03", "11", "13", "15"]


def test_every_image_is_chosen_equally_often(photos):
    count = Counter(source for seed in range(600) for source in list_images(photos, limit=5, seed=seed).sources)
    assert len(count) == 20
    # Hypergeometric: 150 ± 10.6 times each; five standard deviations.
    assert max(abs(times - 150) for times in count.values()) < 53


def test_a_bad_image_is_one_named_failure_and_the_rest_goes_on(photos):
    (photos / "07.png").write_bytes(b"dear diary")
    (photos / "08.png").write_bytes(b"")
    images = list_images([photos, photos / "gone.png"])
    assert "07.png is no PNG, JPEG" in refused(ImageError, images.load, 7)
    assert "08.png is empty" in refused(ImageError, images.load, 8)
    assert "gone.png does not exist" in refused(ImageError, images.load, 20)
    assert number_of(images.load(9)) == 9


def test_read_names_what_is_not_there(everywhere, tmp_path):
    list_images(everywhere)
    assert "did you mean '04.png' or" in refused(ImageError, read, f"{tmp_path}/a.tar::040.png")
    assert "holds no picture" in refused(ImageError, read, f"{tmp_path}/a.tar::../00.png")
    assert "no such file" in refused(ImageError, read, f"{tmp_path}/c.tar::00.png")
    assert "does not exist" in refused(ImageError, read, f"{tmp_path}/photos/99.png")
    assert "cannot be read" in refused(ImageError, read, f"{tmp_path}/{'x' * 300}.png")
    assert "no such file" in refused(ImageError, read, f"{tmp_path}/c.tar::{'x' * 300}.png")


def test_a_shard_that_went_away_is_a_failure_of_its_images(everywhere, tmp_path):
    images = list_images(everywhere)
    (tmp_path / "a.tar").unlink()
    assert "a.tar::00.png cannot be read: no such file" in refused(ImageError, images.load, 20)
    assert number_of(images.load(40)) == 0


def test_a_file_whose_name_looks_like_a_member_is_a_file(tmp_path):
    (tmp_path / "x.tar::1.png").write_bytes(png(42))
    images = list_images(tmp_path)
    assert number_of(images.load(0)) == number_of(read(images[0].source)) == 42


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_that_are_not_utf_8_survive_text(tmp_path):
    label = os.fsdecode(b"caf\xe9")
    names = [os.fsdecode(b"a\xff\xfe.png"), "b\\udcff.png", "c\nd.png", "e::f.png", "g\\h.png", "ü 图.png"]
    (tmp_path / label).mkdir()
    for number, name in enumerate(names):
        (tmp_path / label / name).write_bytes(png(number))
    images = list_images(tmp_path)
    assert images.labels == ("caf\\udce9",)
    assert len(set(images.sources)) == len(names)
    assert len(images.digest) == 64
    for number, entry in enumerate(images):
        assert entry.source.encode().decode() == entry.source
        assert "\n" not in entry.source
        assert number_of(images.load(number)) == number_of(read(entry.source)) == number
    assert images.sources[-1].endswith("/ü 图.png")


def test_a_picture_with_a_strange_name_fails_in_one_line(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff\n.png")).write_bytes(b"no picture")
    refused(ImageError, list_images(tmp_path).load, 0)


def test_what_holds_nothing_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in refused(ImageError, list_images, tmp_path / "empty")
    assert "no file matches" in refused(ImageError, list_images, str(tmp_path / "*.png"))
    assert "there is no picture to survey; give a folder" in refused(ImageError, list_images, [])
    assert "limit is 0" in refused(OptionError, list_images, tmp_path, limit=0)
    assert "seed is -1" in refused(OptionError, list_images, tmp_path, seed=-1)
    assert "labels cannot be 'all'" in refused(OptionError, list_images, tmp_path, labels="all")


def test_memory_is_that_of_the_names(tmp_path):
    """A million entries must fit: shared labels, no object for each image but the text of its source."""
    (tmp_path / "many.csv").write_text("path,label\n" + "".join(f"{n:06d}.png,c{n % 3}\n" for n in range(1000)))
    images = list_images(tmp_path / "many.csv")
    assert len({id(label) for label in images.classes}) == 3
    assert images.places.nbytes == 32 * 1000
    # A pickle holds each label once.
    assert len(pickle.dumps(images)) / 1000 < len(images.sources[0]) + 50
    assert images[999] == Entry(images.sources[999], "c0")
