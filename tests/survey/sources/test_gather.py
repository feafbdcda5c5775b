"""What a user may name: folders with and without classes, patterns, tables, mixtures; each image once."""

import numpy as np
import pytest

from phosphene.core.errors import ImageError
from phosphene.core.images.image import encode_png
from phosphene.survey.sources.gather import escape, split, unescape
from phosphene.survey.sources.image_list import list_images

PNG = encode_png(np.zeros((4, 4, 3), np.uint8))


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


def seen(images, folder):
    """Names below a folder, and labels."""
    return [(entry.source.removeprefix(f"{folder.resolve().as_posix()}/"), entry.label) for entry in images]


def refused(source, **options):
    with pytest.raises(ImageError) as caught:
        list_images(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


def test_a_folder_gives_pictures_in_order_and_hides_the_hidden(tmp_path):
    fill(tmp_path, "b.png", "a/z.JPG", "a/deep/er/y.webp", ".hidden.png", ".git/c.png", "notes.txt", "list.csv")
    assert seen(list_images(tmp_path), tmp_path) == [("a/deep/er/y.webp", ""), ("a/z.JPG", ""), ("b.png", "")]


def test_folders_of_classes_label_and_one_loose_picture_ends_that(tmp_path):
    fill(tmp_path, "dog/1.png", "cat/2.png", "cat/old/3.png")
    images = list_images(tmp_path)
    assert seen(images, tmp_path) == [("cat/2.png", "cat"), ("cat/old/3.png", "cat"), ("dog/1.png", "dog")]
    assert images.labels == ("cat", "dog")
    assert list_images(tmp_path, labels="none").labels == ()
    fill(tmp_path, "loose.png")
    assert list_images(tmp_path).labels == ()


def test_sources_mix_in_their_order_and_an_image_counts_once(tmp_path):
    fill(tmp_path, "one/b.png", "one/a.png", "two/c.png", "d.bin")
    images = list_images([tmp_path / "d.bin", tmp_path / "two", str(tmp_path / "*/*.png"), str(tmp_path / "one")])
    assert [name for name, _ in seen(images, tmp_path)] == ["d.bin", "two/c.png", "one/a.png", "one/b.png"]
    assert images.notes == ("3 pictures were named again; each counts once",)
    assert list_images(iter([tmp_path / "two"])).notes == ()


def test_a_label_is_filled_in_and_never_overruled(tmp_path):
    fill(tmp_path, "x/cat/1.png")
    (tmp_path / "t.csv").write_text("file,class\nx/cat/1.png,cat\n")
    (tmp_path / "u.csv").write_text("file,class\nx/cat/1.png,dog\n")
    assert list_images([tmp_path / "x/cat/1.png", tmp_path / "t.csv", tmp_path / "x"]).labels == ("cat",)
    assert "labelled both 'cat' and 'dog'; keep one" in refused([tmp_path / "x", tmp_path / "u.csv"])


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,cat\nsub/b.png,dog\n",
        "\ufeffPath , LABEL\r\na.png,cat\r\n\r\n , \r\nsub/b.png,dog\r\n",  # as Excel writes
        "index,Filename,class\n0,a.png,cat\n1,sub/b.png,dog",
        'target,image\n"cat",a.png\n" dog ","sub/b.png"\n',
        "name,file,label\nx,a.png,cat\ny,sub/b.png,dog\n",
        "file,label\na.png, cat\nsub/b.png, dog\na.png, cat\n",
    ],
)
def test_tables_as_people_write_them(tmp_path, text):
    fill(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "t.csv").write_text(text, newline="")
    images = list_images(tmp_path / "t.csv")
    assert seen(images, tmp_path) == [("a.png", "cat"), ("sub/b.png", "dog")]
    assert len(images.notes) == text.count("a.png") - 1
    assert images.load(1).width == 4


def test_a_table_without_labels_and_with_files_that_are_missing(tmp_path):
    fill(tmp_path, "b.png")
    (tmp_path / "t.csv").write_text(f"file\ngone.png\nb.png\n{tmp_path}/far.png\n{'x' * 300}.png\na\0.png\n")
    images = list_images(tmp_path / "t.csv")
    assert images.labels == ()
    assert images.load(1).width == 4
    for number in (0, 2, 3, 4):
        with pytest.raises(ImageError):
            images.load(number)


def test_a_folder_that_is_not_there_is_no_picture(tmp_path):
    fill(tmp_path, "photos/a.png")
    assert "phtos does not exist; did you mean 'photos'?" in refused(tmp_path / "phtos")
    assert "b does not exist" in refused(tmp_path / "a" / "b")
    assert len(list_images([tmp_path / "photos", tmp_path / "gone.png"])) == 2


def test_paths_of_a_table_start_beside_it_or_in_its_folder(tmp_path):
    (tmp_path / "train.csv").write_text("file,label\na.png,cat\nb.png,dog\n")
    fill(tmp_path, "pictures/b.png", ".cache/a.png")
    only = list_images(tmp_path / "train.csv")
    assert [name for name, _ in seen(only, tmp_path)] == ["pictures/a.png", "pictures/b.png"]
    assert only.notes == (f"the paths in {tmp_path.resolve()}/train.csv start at pictures/ beside it",)
    fill(tmp_path, "test/a.png")  # now there are two, and none has the table's name
    assert seen(list_images(tmp_path / "train.csv"), tmp_path)[0][0] == "a.png"
    fill(tmp_path, "train/a.png")
    assert seen(list_images(tmp_path / "train.csv"), tmp_path)[0][0] == "train/a.png"
    fill(tmp_path, "b.png")
    assert seen(list_images(tmp_path / "train.csv"), tmp_path)[0][0] == "a.png"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"cat.jpg,cat\ndog.jpg,dog\n", "begins with 'cat.jpg', 'cat'; call one column path or file"),
        (b"file;label\na.png;cat\n", "begins with 'file;label'; call"),
        (b"", "begins with nothing"),
        (b"file,label\n", "lists no picture"),
        (b"file,label\n,cat\n", "no path in line 2; mend that line"),
        (b"file,label\na.png,cat\nb,c.png,dog\n", "3 cells under 2 columns in line 3"),
        (b"file,label\na.png\n", "1 cells under 2 columns in line 2"),
        (b"file,label\na.png,cat\ncaf\xe9.png,cat\n", "is not UTF-8 in line 3; save it as UTF-8"),
        ("file,label\na.png,cat\n".encode("utf-16"), "is not UTF-8 in line 1"),
        (b'file,label\n"a.png,cat\n', "is no table: unexpected end of data in line 2"),
        (b"file,label\n" + b"x" * 200_000 + b",cat\n", "is no table: field larger"),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path, data, words):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    text = refused(path)
    assert text.startswith(str(path))
    assert words in text


def test_tables_and_shards_must_be_there(tmp_path):
    for name in ("t.csv", "s.tar", "s.zip"):
        assert f"{name} cannot be read: no such file" in refused(tmp_path / name)


def test_compressed_tars_are_refused_with_the_next_step(tmp_path):
    for name in ("a.tar.gz", "a.TGZ", "a.tar.zst", "a.tar.bz2"):
        fill(tmp_path, name)
        assert "unpack it to a .tar" in refused(tmp_path / name)
    assert "unpack it to a .tar" in refused(tmp_path)


def test_names_as_text():
    for name in ("plain/ü 图.png", "a\\b", "\\u0041", "\udcff\ud800", "a\nb\x7f\u2028", "\\\\udcff"):
        assert unescape(escape(name)) == name
        assert escape(name).encode().decode().splitlines() == [escape(name)]
    assert escape("plain/ü 图.png") == "plain/ü 图.png"
    assert split("/d/x.TAR::a.zip::b.png") == ("/d/x.TAR", "a.zip::b.png")
    assert split("/d/x.tart::b.png") == ("/d/x.tart::b.png", "")
