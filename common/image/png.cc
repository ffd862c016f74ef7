#include "common/image/png.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace rsidiff {
namespace {

constexpr png_uint_32 kMaxSide = 16384;
constexpr int64_t kMaxPixels = int64_t{64} << 20;
// Text chunks are decompressed by libpng up to this size each, and this many are kept.
constexpr png_alloc_size_t kMaxChunkBytes = 1 << 20;
constexpr png_uint_32 kMaxChunks = 1000;
constexpr int kCompressionLevel = 6;

// The last message of libpng, and the reader's or writer's place in the bytes.
struct Transfer {
  absl::string_view input;
  size_t offset = 0;
  std::string output;
  std::string error;
};

void OnError(png_structp png, png_const_charp message) {
  static_cast<Transfer*>(png_get_error_ptr(png))->error = message;
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void ReadBytes(png_structp png, png_bytep data, size_t length) {
  auto* transfer = static_cast<Transfer*>(png_get_io_ptr(png));
  if (transfer->input.size() - transfer->offset < length) png_error(png, "the file ends early");
  std::memcpy(data, transfer->input.data() + transfer->offset, length);
  transfer->offset += length;
}

void WriteBytes(png_structp png, png_bytep data, size_t length) {
  static_cast<Transfer*>(png_get_io_ptr(png))->output.append(reinterpret_cast<const char*>(data), length);
}

void FlushBytes(png_structp) {}

// libpng's two structures of a reader.
struct Reader {
  explicit Reader(Transfer& transfer) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &transfer, OnError, OnWarning);
    info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) return;
    png_set_read_fn(png, &transfer, ReadBytes);
    png_set_user_limits(png, kMaxSide, kMaxSide);
    png_set_chunk_malloc_max(png, kMaxChunkBytes);
    png_set_chunk_cache_max(png, kMaxChunks);
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  png_structp png = nullptr;
  png_infop info = nullptr;
};

struct Writer {
  explicit Writer(Transfer& transfer) {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &transfer, OnError, OnWarning);
    info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info != nullptr) png_set_write_fn(png, &transfer, WriteBytes, FlushBytes);
  }
  ~Writer() { png_destroy_write_struct(&png, &info); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  png_structp png = nullptr;
  png_infop info = nullptr;
};

// Runs `body`, false when libpng jumped out of it. The only setjmp of this file: a body may own nothing that
// needs a destructor, since the jump skips them.
template <typename Body>
bool Guarded(png_structp png, Body&& body) {
  if (setjmp(png_jmpbuf(png))) return false;
  body();
  return true;
}

absl::Status Failure(const Transfer& transfer) {
  return absl::DataLossError(
      absl::StrCat("not a whole PNG: ", transfer.error.empty() ? "no memory" : transfer.error));
}

// Asks libpng for 8-bit RGB whatever the file holds. Alpha is dropped, not blended.
void RequestRgb(const Reader& reader) {
  png_set_expand(reader.png);
  png_set_strip_16(reader.png);
  png_set_gray_to_rgb(reader.png);
  png_set_strip_alpha(reader.png);
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
}

bool IsLatin1(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) continue;
    // U+00A0 .. U+00FF is C2 A0 .. C3 BF.
    if ((byte != 0xC2 && byte != 0xC3) || ++i == text.size()) return false;
    if (byte == 0xC2 && static_cast<unsigned char>(text[i]) < 0xA0) return false;
  }
  return true;
}

std::string Utf8ToLatin1(absl::string_view text) {
  std::string latin1;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      latin1.push_back(text[i]);
    } else {
      latin1.push_back(static_cast<char>(((byte & 3) << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F)));
    }
  }
  return latin1;
}

std::string Latin1ToUtf8(absl::string_view text) {
  std::string utf8;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      utf8.push_back(c);
    } else {
      utf8.push_back(static_cast<char>(0xC0 | (byte >> 6)));
      utf8.push_back(static_cast<char>(0x80 | (byte & 0x3F)));
    }
  }
  return utf8;
}

bool IsKeyword(absl::string_view keyword) {
  return !keyword.empty() && keyword.size() <= 79 && keyword.front() != ' ' && keyword.back() != ' ' &&
         keyword.find("  ") == absl::string_view::npos &&
         std::all_of(keyword.begin(), keyword.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

// libpng's text entries; `latin1` keeps what they point to.
absl::StatusOr<std::vector<png_text>> MakeTextChunks(const PngText& text, std::vector<std::string>& latin1) {
  latin1.reserve(text.size());
  std::vector<png_text> chunks;
  for (const auto& [keyword, value] : text) {
    if (!IsKeyword(keyword)) {
      return absl::InvalidArgumentError(absl::StrCat("not a keyword for a PNG text: \"", keyword, "\""));
    }
    if (value.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("the PNG text ", keyword, " holds a zero byte"));
    }
    png_text chunk{};
    chunk.key = const_cast<char*>(keyword.c_str());
    if (IsLatin1(value)) {
      latin1.push_back(Utf8ToLatin1(value));
      chunk.compression = PNG_TEXT_COMPRESSION_NONE;
      chunk.text = latin1.back().data();
      chunk.text_length = latin1.back().size();
    } else {
      chunk.compression = PNG_ITXT_COMPRESSION_NONE;
      chunk.text = const_cast<char*>(value.c_str());
      chunk.itxt_length = value.size();
    }
    chunks.push_back(chunk);
  }
  return chunks;
}

PngText CollectText(const Reader& reader) {
  png_textp chunks = nullptr;
  int count = 0;
  png_get_text(reader.png, reader.info, &chunks, &count);
  PngText text;
  for (int i = 0; i < count; ++i) {
    const bool utf8 = chunks[i].compression == PNG_ITXT_COMPRESSION_NONE ||
                      chunks[i].compression == PNG_ITXT_COMPRESSION_zTXt;
    const size_t length = utf8 ? chunks[i].itxt_length : chunks[i].text_length;
    const absl::string_view value(chunks[i].text == nullptr ? "" : chunks[i].text,
                                  chunks[i].text ? length : 0);
    text.emplace_back(chunks[i].key, utf8 ? std::string(value) : Latin1ToUtf8(value));
  }
  return text;
}

}  // namespace

std::string PngLibraries() {
  return absl::StrCat("libpng ", png_get_libpng_ver(nullptr), ", zlib ", zlibVersion());
}

absl::StatusOr<std::string> EncodePng(const Image& image, const PngText& text) {
  if (image.width < 1 || image.height < 1 || image.rgb.size() != size_t{3} * image.width * image.height) {
    return absl::InvalidArgumentError(absl::StrCat("not a picture: ", image.width, "x", image.height,
                                                   " with ", image.rgb.size(), " bytes"));
  }
  std::vector<std::string> latin1;
  auto chunks = MakeTextChunks(text, latin1);
  if (!chunks.ok()) return chunks.status();
  Transfer transfer;
  Writer writer(transfer);
  const bool done =
      writer.info != nullptr && Guarded(writer.png, [&] {
        png_set_IHDR(writer.png, writer.info, image.width, image.height, 8, PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_set_compression_level(writer.png, kCompressionLevel);
        if (!chunks->empty()) {
          png_set_text(writer.png, writer.info, chunks->data(), static_cast<int>(chunks->size()));
        }
        png_write_info(writer.png, writer.info);
        for (int y = 0; y < image.height; ++y) png_write_row(writer.png, image.row(y));
        png_write_end(writer.png, writer.info);
      });
  if (!done) return absl::InternalError(absl::StrCat("cannot encode a PNG: ", transfer.error));
  return std::move(transfer.output);
}

absl::StatusOr<Image> DecodePng(absl::string_view bytes) {
  Transfer transfer;
  transfer.input = bytes;
  Reader reader(transfer);
  if (reader.info == nullptr || !Guarded(reader.png, [&] { png_read_info(reader.png, reader.info); })) {
    return Failure(transfer);
  }
  const png_uint_32 width = png_get_image_width(reader.png, reader.info);
  const png_uint_32 height = png_get_image_height(reader.png, reader.info);
  if (int64_t{width} * height > kMaxPixels) {
    return absl::DataLossError(absl::StrCat("the PNG is too large: ", width, "x", height));
  }
  Image image;
  std::vector<png_bytep> rows(height);
  const bool prepared = Guarded(reader.png, [&] { RequestRgb(reader); });
  if (!prepared) return Failure(transfer);
  if (png_get_rowbytes(reader.png, reader.info) != size_t{3} * width) {
    return absl::DataLossError("the PNG cannot be read as 8-bit RGB");
  }
  image = MakeImage(static_cast<int>(width), static_cast<int>(height));
  for (png_uint_32 y = 0; y < height; ++y) rows[y] = image.row(static_cast<int>(y));
  const bool done = Guarded(reader.png, [&] {
    png_read_image(reader.png, rows.data());
    png_read_end(reader.png, nullptr);
  });
  if (!done) return Failure(transfer);
  return image;
}

absl::StatusOr<PngText> ReadPngText(absl::string_view bytes) {
  Transfer transfer;
  transfer.input = bytes;
  Reader reader(transfer);
  if (reader.info == nullptr || !Guarded(reader.png, [&] { png_read_info(reader.png, reader.info); })) {
    return Failure(transfer);
  }
  if (int64_t{png_get_image_width(reader.png, reader.info)} * png_get_image_height(reader.png, reader.info) >
      kMaxPixels) {
    return absl::DataLossError("the PNG is too large");
  }
  // Text may stand behind the pixels too: read and drop those, a row at a time where rows come in order.
  std::vector<png_byte> row;
  const int passes = png_get_interlace_type(reader.png, reader.info) == PNG_INTERLACE_NONE ? 1 : 7;
  const png_uint_32 height = png_get_image_height(reader.png, reader.info);
  row.resize(png_get_rowbytes(reader.png, reader.info));
  const bool done = Guarded(reader.png, [&] {
    if (passes > 1) png_set_interlace_handling(reader.png);
    png_start_read_image(reader.png);
    for (int pass = 0; pass < passes; ++pass) {
      for (png_uint_32 y = 0; y < height; ++y) png_read_row(reader.png, row.data(), nullptr);
    }
    png_read_end(reader.png, reader.info);
  });
  if (!done) return Failure(transfer);
  return CollectText(reader);
}

}  // namespace rsidiff
