"""Every kind of picture file becomes the right pixels: modes, depths, orientations, profiles, frames, damage."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from phosphene.core.errors import ImageError
from phosphene.core.images import decode
from phosphene.core.images.image import load

RED = (200, 30, 60)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def patches():
    """Four large patches of color, 24 × 32: no orientation looks like another, and JPEG keeps them."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:], pixels[12:, :16], pixels[12:, 16:] = RED, (20, 200, 40), (30, 60, 220), 250
    return Image.fromarray(pixels)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, kind, rows, *extra, size=(2, 2)):
    """A PNG of any depth, which Pillow cannot write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + chunk(b"IEND", b"")


def refused(source, **options):
    with pytest.raises(ImageError) as caught:
        load(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "ICO"])
def test_lossless_formats_give_the_pixels_that_were_written(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    options = {"WEBP": {"lossless": True}, "ICO": {"sizes": [(16, 16)]}}.get(kind, {})
    picture = load(encoded(Image.fromarray(pixels), kind, **options))
    assert np.array_equal(picture.pixels, pixels)
    assert picture.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "GIF"])
def test_lossy_formats_are_close(kind):
    picture = load(encoded(patches(), kind, quality=95)).pixels.astype(int)
    assert abs(picture - np.asarray(patches())).mean() < 8
    assert abs(picture[:8, :12] - RED).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_undone_once_as_pillow_would(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(patches(), kind, exif=exif, quality=100)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    picture = load(data)
    assert picture.pixels.shape == ((24, 32, 3) if orientation < 5 else (32, 24, 3))
    assert abs(picture.pixels - wanted).max() <= 1
    assert picture.notes == (() if orientation == 1 else (f"orientation {orientation} undone",))


@pytest.mark.parametrize("image", [patches(), patches().convert("L")], ids=["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_fast_jpeg_path_equals_pillow(monkeypatch, image, progressive):
    data = encoded(image, "JPEG", progressive=progressive)
    fast = load(data)
    monkeypatch.setattr(decode, "_fast_jpeg", lambda image, data: None)
    assert np.array_equal(fast.pixels, load(data).pixels)


def test_the_fast_path_is_taken_for_photographs_and_left_for_cmyk():
    data = encoded(patches(), "JPEG")
    assert decode._fast_jpeg(Image.open(io.BytesIO(data)), data) is not None
    data = encoded(patches().convert("CMYK"), "JPEG")
    assert decode._fast_jpeg(Image.open(io.BytesIO(data)), data) is None


@pytest.mark.parametrize(
    "data",
    [
        png(16, 0, [struct.pack(">HH", 0, 65535), struct.pack(">HH", 32768, 257)]),
        b"P5 2 2 65535 " + struct.pack(">HHHH", 0, 65535, 32768, 257),
        encoded(Image.fromarray(np.array([[0, 65535], [32768, 257]], np.uint16)), "TIFF"),
    ],
    ids=["PNG", "PGM", "TIFF"],
)
def test_sixteen_bit_grey_is_scaled_not_clipped(data):
    picture = load(data)
    assert picture.pixels[..., 0].tolist() == [[0, 255], [128, 1]]
    assert picture.notes == ("16-bit grey scaled to 8 bits",)


def test_sixteen_bit_tiff_where_white_is_zero():
    image = Image.fromarray(np.array([[0, 65535], [0, 65535]], np.uint16))
    assert load(encoded(image, "TIFF", tiffinfo={262: 0})).pixels[0, :, 0].tolist() == [255, 0]


def test_sixteen_bit_transparent_color():
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 1, 2, 3)
    picture = load(png(16, 2, [row, row], chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))))
    assert picture.pixels[0].tolist() == [[255, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "wanted", "note"),
    [
        ([[0.0, 1.0], [0.5, 0.25]], [[0, 255], [128, 64]], ()),
        ([[-2.0, 2.0], [0.0, -2.0]], [[0, 255], [128, 0]], ("-2 … 2 stretched to black … white",)),
        ([[700.0] * 2] * 2, [[0, 0], [0, 0]], ("700 … 700 stretched to black … white",)),
        ([[0.0, float("nan")], [1.0, 1.0]], [[0, 0], [255, 255]], ("numbers that are not finite shown black",)),
    ],
)
def test_floats(values, wanted, note):
    picture = load(encoded(Image.fromarray(np.array(values, np.float32)), "TIFF"))
    assert picture.pixels[..., 0].tolist() == wanted
    assert picture.notes == note


def test_floats_of_which_none_is_finite_are_refused():
    assert "no finite number" in refused(encoded(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_opaque_modes_keep_their_color(mode):
    image = Image.new("RGB", (8, 8), RED)
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    elif mode != "RGB":
        image = image.convert(mode, palette=Image.Palette.ADAPTIVE, dither=Image.Dither.NONE)
    picture = load(encoded(image, "TIFF")).pixels.astype(int)
    assert abs(picture - {"1": 0, "L": 84}.get(mode, RED)).max() <= 3


def test_adobe_cmyk_jpeg_is_not_inverted():
    picture = load(encoded(Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG", quality=100))
    assert abs(picture.pixels.astype(int) - RED).max() <= 3
    assert picture.notes == ("CMYK without a profile: converted by complement",)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L"])
def test_transparency_lies_over_the_background_and_hides_what_is_below(mode):
    alpha = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    if mode in {"P", "L"}:
        data = encoded(Image.fromarray(np.array([[7, 9], [9, 7]], np.uint8), "L").convert(mode), "PNG", transparency=7)
        opaque = 9
    else:
        image = Image.new(mode.replace("PA", "RGBA"), (2, 2), 40 if mode == "LA" else (40, 40, 40))
        image.putalpha(alpha)
        data = encoded(image, "PNG" if mode != "PA" else "WEBP", **({"lossless": True} if mode == "PA" else {}))
        opaque = 40
    white, green = load(data), load(data, background=(0, 128, 0))
    assert white.pixels[0].tolist() == [[255] * 3, [opaque] * 3]
    assert green.pixels[0].tolist() == [[0, 128, 0], [opaque] * 3]
    assert white.notes == ("composited over white",)
    assert green.notes == ("composited over #008000",)


def test_half_transparency_mixes():
    assert load(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")).pixels[0, 0].tolist() == [127] * 3


def test_an_opaque_alpha_channel_needs_no_note():
    assert load(encoded(Image.new("RGBA", (2, 2), (*RED, 255)), "PNG")).notes == ()


def gamma_profile():
    """sRGB with its red and green curves and colorants exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {}
    for index in range(struct.unpack_from(">I", data, 128)[0]):
        places[bytes(data[132 + 12 * index :][:4])] = 136 + 12 * index
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_profile_is_converted_to_srgb(kind):
    data = encoded(Image.new("RGB", (16, 16), RED), kind, icc_profile=gamma_profile(), quality=100)
    picture = load(data)
    assert abs(picture.pixels.astype(int) - (RED[1], RED[0], RED[2])).max() <= 4
    assert picture.notes[0].startswith("converted from RGB by its ICC profile")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_profile_of_srgb_changes_nothing(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = load(encoded(Image.new(mode, (4, 4), 77), "PNG", icc_profile=profile))
    assert picture.notes == ()
    assert np.array_equal(picture.pixels, load(encoded(Image.new(mode, (4, 4), 77), "PNG")).pixels)


def test_a_profile_that_does_not_fit_or_is_broken_is_named():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk = load(encoded(Image.new("CMYK", (4, 4)), "TIFF", icc_profile=srgb))
    assert cmyk.notes[0] == "its ICC profile is for RGB: not used"
    broken = load(encoded(Image.new("RGB", (4, 4), RED), "PNG", icc_profile=b"nonsense"))
    assert broken.notes == ("its ICC profile cannot be read: not used",)
    assert broken.pixels[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames(kind):
    pages = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(pages[0], kind, save_all=True, append_images=pages[1:], **options)
    assert load(data).notes == ("first of 3 frames",)
    assert load(data).pixels[0, 0].tolist() == [255, 0, 0]
    third = load(data, frame=2)
    assert third.pixels[0, 0].tolist() == [0, 0, 255]
    assert third.notes == ("frame 2 of 3",)
    assert "has no frame 3; give one of 0 … 2" in refused(data, frame=3)
    assert "has no frame -1" in refused(data, frame=-1)


def test_one_pixel_is_no_picture():
    assert "is 1×5 pixels; give a picture of at least 2×2" in refused(encoded(Image.new("L", (1, 5)), "PNG"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused_unless_tolerated(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    cut = data[: len(data) * 2 // 3]
    assert "tolerate_truncated=True" in refused(cut) or kind == "TIFF"
    if kind in {"PNG", "JPEG", "BMP"}:
        picture = load(cut, tolerate_truncated=True)
        assert picture.pixels.shape == (64, 64, 3)
        assert picture.notes == ("damaged: only a part was decoded",)
    assert load(data, tolerate_truncated=True).notes == ()


def test_the_globals_of_pillow_are_restored():
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    noise = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "PNG")
    load(noise[:4000], tolerate_truncated=True)
    refused(b"no picture", tolerate_truncated=True)
    after = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    assert after == before


@pytest.mark.parametrize("side", [10_001, 50_000, 2**31 - 1])
def test_decompression_bombs_are_refused_by_their_header(side):
    bomb = png(8, 2, [b""], size=(side, side))
    assert f"holds {side * side / 1e6:,.0f} megapixels; 100 are allowed" in refused(bomb)


def test_threads_decode_at_once_and_warnings_stay_inside():
    sources = [encoded(patches(), kind) for kind in ("JPEG", "PNG", "WEBP")] * 8
    pictures = [None] * len(sources)

    def work(index):
        pictures[index] = load(sources[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(picture.width == 32 for picture in pictures)
