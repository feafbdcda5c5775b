"""Shards: read at random, as bytes and never to disk; labels beside pictures; every kind of damage named."""

import io
import json
import os
import random
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from phosphene.core.errors import ImageError
from phosphene.core.images.image import encode_png
from phosphene.survey.sources.archive import Shard
from phosphene.survey.sources.image_list import list_images, read

PNG = encode_png(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))


def tar_of(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return path


def made(path, members):
    return (zip_of if path.suffix == ".zip" else tar_of)(path, members)


def refused(call, *args):
    with pytest.raises(ImageError) as caught:
        call(*args)
    assert str(caught.value).isprintable()  # so it is one line, too
    return str(caught.value)


def names(images):
    return [source.partition("::")[2] for source in images.sources]


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_members_count_by_suffix_in_their_order_and_the_later_of_two_wins(tmp_path, suffix):
    other = encode_png(np.zeros((9, 9, 3), np.uint8))
    members = [("z.png", PNG), ("./d/a.PNG", PNG), ("notes.md", b"x"), ("__MACOSX/._z.png", PNG), (".b.png", PNG)]
    if suffix == ".tar":  # zipfile warns of two of a name
        members.append(("z.png", other))
    images = list_images(made(tmp_path / f"s{suffix}", members))
    assert names(images) == ["z.png", "./d/a.PNG"]
    assert [images.load(n).height for n in (0, 1)] == [9 if suffix == ".tar" else 4, 4]
    assert [read(source).sha256 for source in images.sources] == [images.load(n).sha256 for n in (0, 1)]


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_absolute_and_climbing_names_are_names_and_nothing_is_unpacked(tmp_path, suffix):
    folder = tmp_path / "in"
    folder.mkdir()
    wild = ["/etc/phosphene-test.png", "../up.png", "a/../../up.png", "C:/x.png", "deep/" * 60 + "a.png", "ü图.png"]
    images = list_images(made(folder / f"s{suffix}", [(name, PNG) for name in wild]))
    assert names(images) == wild
    for number, source in enumerate(images.sources):
        assert images.load(number).sha256 == read(source).sha256
    assert [path.name for path in tmp_path.rglob("*")] == ["in", f"s{suffix}"]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_strange_names_of_tars(tmp_path, form):
    wild = ["x" * 300 + ".png", "caf\udce9.png", "new\nline.png"]
    images = list_images(tar_of(tmp_path / "s.tar", [(name, PNG) for name in wild], form))
    assert len(images) == 3
    for number, source in enumerate(images.sources):
        assert source.encode().decode().splitlines() == [source]
        assert images.load(number).sha256 == read(source).sha256


def test_links_and_folders_in_shards_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.png")
        info.size = len(PNG)
        tar.addfile(info, io.BytesIO(PNG))
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        link = zipfile.ZipInfo("l.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("d.png/", "")
        archive.writestr("a.png", PNG)
    assert names(list_images([tmp_path / "s.tar", tmp_path / "s.zip"])) == ["a.png", "a.png"]


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_labels_lie_beside_pictures(tmp_path, suffix):
    members = [
        ("0.cls", b"281\n"),
        ("1.json", json.dumps({"name": "x", "label": "tabby  cat"}).encode()),
        ("1.txt", b"not this"),
        ("2.txt", "café".encode()),
        ("3.json", b'{"target": 7}'),
        ("3.cls.txt", b"no"),
        ("4.json", b"[1]"),
        ("d/4.cls", b"elsewhere"),
    ]
    pictures = [(f"{name}.png", PNG) for name in ("0", "1.seg", "2", "3", "4", "d.e/4")]
    images = list_images(made(tmp_path / f"s{suffix}", [*members, *pictures]))
    assert list(images.classes) == ["281", "tabby cat", "café", "7", "", ""]
    assert not images.damage
    assert list_images(tmp_path / f"s{suffix}", labels="none").labels == ()


def test_labels_that_cannot_be_read_are_one_line(tmp_path):
    members = [("0.cls", b"\xff"), ("1.json", b"{"), ("2.json", b"[" * 60_000), ("3.txt", b"x" * 100_000)]
    pictures = [(f"{number}.png", PNG) for number in range(5)]
    images = list_images(tar_of(tmp_path / "s.tar", [*members, ("4.cls", b"ok"), *pictures]))
    assert list(images.classes) == ["", "", "", "", "ok"]
    assert images.damage == (
        f"{tmp_path.resolve()}/s.tar holds 4 labels that cannot be read, such as '0.cls'; write them again",
    )


def test_a_cut_tar_gives_what_is_before_the_cut_and_says_so(tmp_path):
    whole = tar_of(tmp_path / "s.tar", [(f"{number}.png", PNG) for number in range(6)]).read_bytes()
    step = 512 + -(-len(PNG) // 512) * 512
    assert not list_images(tmp_path / "s.tar").damage
    cut = tmp_path / "c.tar"
    for length in [step * 3, step * 3 + 1, step * 3 + 511, step * 3 + 512, step * 3 + 512 + len(PNG) - 1, step * 6]:
        cut.write_bytes(whole[:length])
        images = list_images(cut)
        assert len(images) == length // step, length
        assert len(images.damage) == 1, length
        assert f"c.tar is {'no tar, or damaged' if 'no tar' in images.damage[0] else 'cut short'}" in images.damage[0]
        assert f"({length // step} pictures before that count)" in images.damage[0]
        assert all(images.load(number).width == 6 for number in range(len(images)))
    for length in (0, 100, 511):
        cut.write_bytes(whole[:length])
        assert "c.tar is" in refused(list_images, cut)
    assert len(list_images([cut, tmp_path / "s.tar"])) == 6  # the rest goes on
    assert list_images([cut, tmp_path / "s.tar"]).damage


def test_a_tar_that_turns_to_rubbish_or_lies_of_a_size_says_so(tmp_path):
    data = bytearray(tar_of(tmp_path / "s.tar", [(f"{number}.png", PNG) for number in range(6)]).read_bytes())
    step = 512 + -(-len(PNG) // 512) * 512
    data[step * 2 : step * 2 + 512] = b"\x55" * 512
    (tmp_path / "s.tar").write_bytes(data)
    images = list_images(tmp_path / "s.tar")
    assert len(images) == 2
    assert "s.tar is damaged; copy it again" in images.damage[0]
    liar = tarfile.TarInfo("0.png")
    liar.size = 2**40
    (tmp_path / "s.tar").write_bytes(liar.tobuf() + PNG)
    assert "is cut short" in refused(list_images, tmp_path / "s.tar")


def test_a_chain_of_long_names_is_damage_not_a_crash(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "s.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 5000)
    assert "is no tar, or damaged" in refused(list_images, tmp_path / "s.tar")


def test_what_is_no_shard_is_named(tmp_path):
    for name in ("a.tar", "a.zip"):
        (tmp_path / name).write_bytes(b"hello" * 1000)
        assert f"{name} is no {name[2:]}" in refused(list_images, tmp_path / name)
        made(tmp_path / name, [("readme.md", b"x")])
        assert f"{name} holds no picture; give another shard" in refused(list_images, tmp_path / name)


def test_a_folder_of_shards_gives_their_pictures(tmp_path):
    tar_of(tmp_path / "b.tar", [("1.png", PNG)])
    zip_of(tmp_path / "a.zip", [("0.png", PNG)])
    assert names(list_images(tmp_path)) == names(list_images(str(tmp_path / "*.*"))) == ["0.png", "1.png"]


def test_a_cut_or_flipped_zip_is_named(tmp_path):
    path = zip_of(tmp_path / "s.zip", [(f"{number}.png", PNG) for number in range(4)], zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert "s.zip is no zip, or cut short" in refused(list_images, path)
    flipped = bytearray(whole)
    flipped[whole.rindex(PNG) + 40] ^= 1
    path.write_bytes(flipped)
    images = list_images(path)
    assert [loads(images, number) for number in range(4)] == [True, True, True, False]
    assert "s.zip::3.png is damaged in its shard; copy the shard again" in refused(images.load, 3)


def loads(images, number):
    try:
        images.load(number)
    except ImageError:
        return False
    return True


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_no_damage_of_a_shard_is_a_crash_or_another_picture(tmp_path, suffix):
    """Flips and cuts: a picture is the right one, or a failure, or left out with a line that says so."""
    colors = {f"{number}.png": number * 20 for number in range(8)}
    pictures = [(name, encode_png(np.full((3, 3, 3), color, np.uint8))) for name, color in colors.items()]
    path = made(tmp_path / f"s{suffix}", pictures)
    whole = path.read_bytes()
    table = whole.find(b"PK\1\2") if suffix == ".zip" else len(whole)  # of a zip, in which nothing guards the names
    chance = random.Random(0)
    for trial in range(150):
        data, place = bytearray(whole), 0
        if trial % 3:
            place = chance.randrange(len(data))
            data[place] ^= 1 << chance.randrange(8)
        else:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            images = list_images(path)
        except ImageError:
            continue
        assert len(images) == 8 or images.damage or place >= table
        for number, name in enumerate(names(images)):
            if loads(images, number) and place < table:
                assert int(images.load(number).pixels[0, 0, 0]) == colors[name]


def test_a_zip_bomb_is_a_failure_that_costs_nothing(tmp_path):
    packed = zip_of(tmp_path / "s.zip", [("bomb.png", bytes(65 * 2**20)), ("ok.png", PNG)])
    images = list_images(packed)
    assert "bomb.png is larger than the 64 MiB allowed" in refused(images.load, 0)
    assert images.load(1).width == 6


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path):
    bomb = zip_of(tmp_path / "s.zip", [("bomb.png", bytes(2**20))])
    data = bytearray(bomb.read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    bomb.write_bytes(data)
    assert "is damaged in its shard" in refused(list_images(bomb).load, 0)


def test_zips_we_do_not_read_are_named(tmp_path):
    images = list_images(zip_of(tmp_path / "s.zip", [("a.png", PNG)], zipfile.ZIP_BZIP2))
    assert "a.png is packed by method 12 of zip; pack it again" in refused(images.load, 0)
    data = bytearray(zip_of(tmp_path / "s.zip", [("a.png", PNG)]).read_bytes())
    data[6] |= 1
    (tmp_path / "s.zip").write_bytes(data)
    assert "a.png is encrypted" in refused(list_images(tmp_path / "s.zip").load, 0)
    data[:4] = b"oops"
    (tmp_path / "s.zip").write_bytes(data)
    assert "is not where its shard says" in refused(list_images(tmp_path / "s.zip").load, 0)


def test_a_member_without_a_name_is_passed_over(tmp_path):
    path = zip_of(tmp_path / "s.zip", [("x.png", PNG), ("y.png", PNG)])
    path.write_bytes(path.read_bytes().replace(b"x.png", b"\0.png"))  # zipfile ends a name at a zero
    assert names(list_images(path)) == ["y.png"]


def test_a_table_of_a_zip_that_points_outside_is_damage(tmp_path):
    data = bytearray(zip_of(tmp_path / "s.zip", [("x.png", PNG)]).read_bytes())
    entry = data.index(b"PK\1\2")
    data[entry + 42 : entry + 46] = struct.pack("<I", 2**31)
    (tmp_path / "s.zip").write_bytes(data)
    assert "s.zip is damaged; copy it again" in refused(list_images, tmp_path / "s.zip")


def test_a_zip_behind_a_program_and_one_that_was_streamed(tmp_path):
    class Pipe(io.BytesIO):
        def tell(self):
            raise OSError("sizes then stand behind the data only")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", PNG)
    (tmp_path / "streamed.zip").write_bytes(pipe.getvalue())
    plain = zip_of(tmp_path / "plain.zip", [("a.png", PNG)]).read_bytes()
    (tmp_path / "program.zip").write_bytes(os.urandom(999) + plain)
    images = list_images([tmp_path / "streamed.zip", tmp_path / "program.zip"])
    assert [images.load(number).width for number in (0, 1)] == [6, 6]


def test_a_shard_that_is_written_again_is_read_again(tmp_path):
    path = tar_of(tmp_path / "s.tar", [("a.png", PNG)])
    assert Shard.recall(path) is Shard.recall(path)
    tar_of(path, [("a.png", PNG), ("b.png", PNG), *((f"{number}.png", PNG) for number in range(20))])
    assert len(Shard.recall(path).members) == 22
    assert read(f"{path}::b.png").width == 6
