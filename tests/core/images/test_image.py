"""Pictures from every source, searched, resized and saved; what is no picture is an error of one line."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from phosphene.core.errors import ImageError
from phosphene.core.folder import OutputFolder
from phosphene.core.images.image import Limits, Picture, blurred, encode_png, find, levels, load, resize, save

SAMPLES = Path(skimage.__file__).parent / "data"
RED = (200, 30, 60)
SIX = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def patches():
    """Four large patches of color, 24 × 32: no orientation looks like another, and JPEG keeps them."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:], pixels[12:, :16], pixels[12:, 16:] = RED, (20, 200, 40), (30, 60, 220), 250
    return Image.fromarray(pixels)


def refused(source, **options):
    with pytest.raises(ImageError) as caught:
        load(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


def test_the_content_decides_the_format_not_the_name(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(encoded(patches(), "JPEG"))
    assert load(path).width == 32


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    for name, data, words in [
        ("notes.jpg", b"dear diary", "notes.jpg is no PNG, JPEG"),
        ("empty.png", b"", "is empty (0 bytes); copy it again"),
        ("phone.heic", b"\0\0\0\x18ftypheic", "(it is HEIC)"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", "(it is PostScript)"),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        assert words in refused(path)
    assert "is a folder" in refused(tmp_path)
    assert "did you mean 'notes.jpg'?" in refused(tmp_path / "note.jpg")
    assert "cannot be read" in refused(tmp_path / "no" / "cat.jpg")
    assert "cannot be read" in refused("a\0b.jpg")
    assert refused(tmp_path / "li\nne\udcff.jpg")


def test_limits(tmp_path):
    data = encoded(patches(), "JPEG")
    assert "holds 0 megapixels" in refused(data, limits=Limits(pixels=700))
    assert load(data, limits=Limits(pixels=24 * 32)).width == 32
    path = tmp_path / "big.jpg"
    path.write_bytes(data + bytes(3000))
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert "is larger than the" in refused(source, limits=Limits(file_bytes=1000))


def test_sources(tmp_path, monkeypatch):
    data = encoded(patches(), "PNG")
    path = tmp_path / "a cat.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        pictures = [load(path), load(str(path)), load(file), load(data)]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    pictures.append(load("-"))
    assert [picture.path for picture in pictures] == [str(path)] * 3 + ["", "-"]
    assert [picture.name for picture in pictures] == ["a cat"] * 3 + ["picture", "stdin"]
    assert len({picture.sha256 for picture in pictures}) == 1
    with pytest.raises(ImageError, match="opened as text"):
        load(io.StringIO("x"))


def test_a_picture_cannot_be_written_to_and_its_tensor_can():
    picture = load(encoded(patches(), "PNG"))
    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0
    tensor = picture.tensor()
    tensor.zero_()
    assert picture.pixels.max() == 250
    assert tensor.shape == (1, 3, 24, 32)
    assert tensor.dtype == torch.float32
    assert "pixels" not in repr(picture)
    assert load(picture._repr_png_()).pixels.tobytes() == picture.pixels.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        *(SIX, SIX / 255, (SIX / 255).astype(np.float16), torch.from_numpy(SIX).permute(2, 0, 1)),
        *(torch.from_numpy(SIX).permute(2, 0, 1)[None] / 255, Image.fromarray(SIX), np.asfortranarray(SIX)),
    ],
    ids=["uint8", "float64", "float16", "uint8 tensor", "float batch", "Pillow", "Fortran order"],
)
def test_arrays_tensors_and_pillow_images_become_pictures(array):
    picture = Picture.from_array(array, name="six.png")
    assert np.array_equal(picture.pixels, SIX)
    assert picture.name == "six"
    assert picture.sha256 == Picture.from_array(SIX).sha256


def test_grey_arrays_and_transparent_pillow_images():
    assert Picture.from_array(SIX[..., 0]).pixels[..., 2].tolist() == SIX[..., 0].tolist()
    picture = Picture.from_array(Image.new("RGBA", (3, 3), (0, 0, 0, 0)))
    assert picture.pixels.min() == 255
    assert picture.notes == ("composited over white",)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 8)), r"pixels are \(3, 8, 8\); phosphene wants arrays"),
        (np.zeros((8, 8, 3), np.int64), "pixels are int64; phosphene wants uint8"),
        (np.full((8, 8, 3), 255.0), r"pixels lie in \[255.0, 255.0\].* Divide by 255"),
        (torch.full((3, 8, 8), -1.0), r"pixels lie in \[-1.0, -1.0\]"),
        (np.full((8, 8, 3), np.nan), "pixels lie in"),
        (np.zeros((8, 8, 4), np.uint8), "4 channels"),
        (torch.zeros(2, 3, 8, 8), r"\(2, 3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    ],
)
def test_other_arrays_are_refused(array, words):
    with pytest.raises(ImageError, match=words):
        Picture.from_array(array)


def test_find(tmp_path, monkeypatch):
    for name in ("b.JPG", "a.png", "below/c.webp", "notes.txt", ".hidden.png", ".thumbs/d.png", "odd[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)

    def names(*paths):
        return [path.as_posix() for path in find(paths)]

    assert names(".") == ["a.png", "b.JPG", "below/c.webp", "odd[1].png"]
    assert names("*.png") == ["a.png", "odd[1].png"]
    assert names("**/*.webp", "-", "notes.txt", "gone.png") == ["below/c.webp", "-", "notes.txt", "gone.png"]
    assert names("odd[1].png") == ["odd[1].png"]
    with pytest.raises(ImageError, match="empty holds no picture"):
        names("empty")
    with pytest.raises(ImageError, match=r"no file matches \*.tiff; check it"):
        names("*.tiff")


def test_resize_stays_in_range_and_keeps_constants():
    edges = torch.zeros(1, 3, 16, 16)
    edges[..., 8:] = 1
    for mode in ("bicubic", "bilinear", "nearest-exact"):
        resized = resize(edges, (37, 5), mode)
        assert resized.shape == (1, 3, 37, 5)
        assert resized.min() == 0
        assert 1 - 1e-6 < resized.max() <= 1
    assert torch.allclose(resize(torch.full((1, 3, 8, 8), 0.3), (20, 20)), torch.tensor(0.3))


def test_png_round_trip_is_exact_and_deterministic(tmp_path):
    picture = load(save(tmp_path / "new" / "six.png", SIX))
    assert np.array_equal(picture.pixels, SIX)
    assert encode_png(picture.tensor()) == encode_png(SIX) == (tmp_path / "new" / "six.png").read_bytes()
    assert levels(torch.tensor([[0.0, 1.0], [0.5, 1.0004]])).tolist() == [[0, 255], [128, 255]]
    assert Image.open(io.BytesIO(encode_png(np.zeros((2, 2, 4), np.uint8)))).mode == "RGBA"


def test_every_file_of_a_folder_is_a_picture_or_one_line():
    folder = Path(os.environ.get("PHOSPHENE_PILLOW_IMAGES", SAMPLES))
    paths = [path for path in folder.rglob("*") if path.is_file()]
    good = 0
    for path in paths:
        try:
            picture = load(path)
        except ImageError as error:
            text = str(error)
            assert "\n" not in text
            assert path.name in text
        else:
            good += 1
            assert min(picture.width, picture.height) >= 2
    assert good > len(paths) / 2


def test_blur_is_the_gaussian():
    dot = torch.zeros(1, 3, 41, 41, dtype=torch.float64)
    dot[..., 20, 20] = 1
    kernel = blurred(dot, 3.0)[0, 0]
    steps = torch.arange(-20, 21, dtype=torch.float64)
    truth = torch.exp(-0.5 * (steps[:, None] ** 2 + steps**2) / 9)
    assert (kernel / kernel.max() - truth)[11:30, 11:30].abs().max() < 1e-12
    assert blurred(torch.full((1, 3, 5, 7), 0.3), 4.0).sub(0.3).abs().max() < 1e-6


def test_results_of_phosphene_are_no_photographs(tmp_path):
    black = np.zeros((4, 4, 3), np.uint8)
    for name in ("cat.png", "out/mine.png"):
        save(tmp_path / name, black)
    for folder in (tmp_path, tmp_path / "out"):
        writers = dict.fromkeys(("map.png", "maps/1.png"), lambda path: save(path, black))
        OutputFolder(folder, "attribute").publish(writers)
    assert list(find([tmp_path])) == [tmp_path / "cat.png", tmp_path / "out" / "mine.png"]
    assert list(find([tmp_path / "map.png"])) == [tmp_path / "map.png"]
