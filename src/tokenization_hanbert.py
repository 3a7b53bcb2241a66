"""HanBERT's tokenizer: a native morpheme analyser cuts a text, WordPiece cuts its morphemes, the Rust library keeps the offsets.

The analyser, libmoran4dnlp.so, comes with the model's files, runs on Linux alone, and is native code: it is loaded only where the
user has said so. It returns morphemes with a space between them; "~~" before one says that no space stands before it in the text.
"""

import ctypes
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import NormalizedString, PreTokenizedString, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from src.errors import ModelError
from src.tokenization_kobert import SPECIAL_TOKENS, as_bert_tokenizer

VOCAB_FILE = "vocab_54k.txt"
LIBRARY = "libmoran4dnlp.so"
CONFIG_FILE = "tokenizer_config.json"
JOINED = "~~"  # the mark of a morpheme that goes on a word
BUFFER_BYTES = 102_400  # as the original gives the analyser
# Marks and spaces make the output longer than the text; of one-byte letters each may become a morpheme of four.
TEXT_BYTES = BUFFER_BYTES // 8
LOOK_AHEAD = 8  # morphemes to look at for the next one that stands in the text as it is


class HanBertTokenizer(PreTrainedTokenizerFast):
    """A Rust tokenizer but for its pre-tokenizer, which asks the analyser; so it saves and describes itself in its own way."""

    vocab_file: Path
    library: Path
    morphemes: "Morphemes"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """As of any tokenizer; ModelError where the analyser fails, which the Rust library would wrap up."""
        self.morphemes.failure = None
        try:
            return super().__call__(*args, **options)
        except Exception:
            if self.morphemes.failure:
                raise self.morphemes.failure from None
            raise

    def identity(self) -> list[str]:
        """What decides its ids: digests of vocabulary and analyser."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.vocab_file, self.library)]

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """Write the vocabulary and where the analyser lies, which is not copied, to `save_directory`."""
        folder = Path(save_directory)
        (folder / VOCAB_FILE).write_bytes(self.vocab_file.read_bytes())
        config = {"tokenizer_class": type(self).__name__, "library": str(self.library.absolute())}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_hanbert_tokenizer(folder: Path, trusted: bool) -> HanBertTokenizer:
    """The tokenizer of the published folder, or of a checkpoint.

    Raises ModelError where a file is missing, the user does not trust the analyser, or it cannot be loaded here.
    """
    vocab_file, library = folder / VOCAB_FILE, folder / LIBRARY
    if not library.is_file() and (folder / CONFIG_FILE).is_file():  # a checkpoint, which says where it is
        recorded = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("library")
        library = Path(recorded) if recorded else library
    if missing := [str(path) for path in (vocab_file, library) if not path.is_file()]:
        raise ModelError(f"HanBERT's tokenizer needs {' and '.join(missing)}. Unpack HanBert-54kN-torch.zip there.")
    if not trusted:
        raise ModelError(
            f"HanBERT's tokenizer runs native code, {library}: a program without source, which can do whatever you can. "
            "If you trust where it came from, say --trust_native_code."
        )
    lines = vocab_file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    vocab = {line.strip(): number for number, line in enumerate(lines)}
    if missing := [token for token in SPECIAL_TOKENS.values() if token not in vocab]:
        raise ModelError(f"{vocab_file} lacks {', '.join(missing)}. Unpack HanBert-54kN-torch.zip again.")
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=200))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    # A piece that begins with either mark goes on the word before it.
    backend.decoder = decoders.Sequence([decoders.WordPiece(cleanup=False), decoders.Replace(f" {JOINED}", "")])
    tokenizer = as_bert_tokenizer(HanBertTokenizer, backend)
    tokenizer.vocab_file, tokenizer.library, tokenizer.morphemes = vocab_file, library, Morphemes(Analyser(library))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(tokenizer.morphemes)
    return tokenizer


class Analyser:
    """The native library. Raises ModelError where it cannot be loaded or is not what it should be."""

    def __init__(self, library: Path) -> None:
        if not sys.platform.startswith("linux"):
            raise ModelError(f"{library} is a library for Linux; HanBERT cannot be used on {sys.platform}.")
        try:
            # PyDLL keeps Python's lock while the library works: it has one state, and the Rust library has many threads.
            native = ctypes.PyDLL(str(library.absolute()))
            self._analyse = native.Moran4dnlp
            open_dictionaries = native.MorAn16_open_dbs
        except (OSError, AttributeError) as error:
            raise ModelError(f"{library} cannot be loaded on this machine: {error}. It is made for Linux on x86-64.") from None
        self._analyse.restype = ctypes.c_char_p
        self._analyse.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
        self._output = ctypes.create_string_buffer(BUFFER_BYTES)
        open_dictionaries.restype = None
        open_dictionaries()

    def __call__(self, text: str) -> list[str]:
        """The morphemes of a text of any length, which must not hold a NUL."""
        found: list[str] = []
        for part in parts_of(text):
            output = self._analyse(part.encode(), self._output, BUFFER_BYTES)
            if output is None:
                raise ModelError(f"HanBERT's analyser gave no answer to {part[:40]!r}.")
            found += output.decode("utf-8", "replace").split()
        return found


def parts_of(text: str) -> Iterator[str]:
    """`text` in parts of at most TEXT_BYTES, cut at spaces where there are any."""
    while len(text.encode()) > TEXT_BYTES:
        fits = text.encode()[:TEXT_BYTES].decode("utf-8", "ignore")
        cut = fits.rfind(" ") + 1 or len(fits)
        yield text[:cut]
        text = text[cut:]
    yield text


class Morphemes:
    """The pre-tokenizer: a text becomes its morphemes, each with its place in the text."""

    def __init__(self, analyser: Analyser) -> None:
        self.analyser = analyser
        self.failure: ModelError | None = None

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        """Called by the Rust library."""
        text.split(self._split)

    def _split(self, number: int, normalized: NormalizedString) -> list[NormalizedString]:
        text = str(normalized)
        try:
            morphemes = self.analyser(text)
        except ModelError as error:
            self.failure = error
            raise
        found = []
        for morpheme, (start, end) in zip(morphemes, align(text, morphemes), strict=True):
            part = normalized[start:end]
            if part is None:
                continue
            if JOINED + str(part) == morpheme:
                part.prepend(JOINED)
            elif str(part) != morpheme:
                part.replace(str(part), morpheme)
            found.append(part)
        return found


def align(text: str, morphemes: Sequence[str]) -> list[tuple[int, int]]:
    """Where each morpheme stands in `text`. One that the analyser has changed gets what is left up to the next it has not."""
    surfaces = [morpheme.removeprefix(JOINED) or morpheme for morpheme in morphemes]
    places: list[tuple[int, int]] = []
    cursor = 0
    while len(places) < len(surfaces):
        while cursor < len(text) and text[cursor].isspace():
            cursor += 1
        number = len(places)
        if text.startswith(surfaces[number], cursor):
            places.append((cursor, cursor + len(surfaces[number])))
            cursor = places[-1][1]
            continue
        ahead = range(number + 1, min(number + 1 + LOOK_AHEAD, len(surfaces)))
        found = [(text.find(surfaces[later], cursor), later) for later in ahead]
        start, later = min(((at, later) for at, later in found if at >= 0), default=(_end_of_word(text, cursor), number + 1))
        gap = text[cursor:start].rstrip()
        here = (cursor, cursor + len(gap)) if gap else (max(cursor - 1, 0), cursor)
        places += [here] * (later - number)
        cursor = max(cursor, start)
    return places


def _end_of_word(text: str, start: int) -> int:
    while start < len(text) and not text[start].isspace():
        start += 1
    return start
