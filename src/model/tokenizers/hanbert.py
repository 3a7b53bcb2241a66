"""HanBERT's tokenizer: a native analyser splits a text into morphemes, WordPiece splits these, the Rust library keeps offsets.

The analyser, libmoran4dnlp.so, comes with the model's files. It is native code for Linux and only loaded if the user trusts it.
It returns morphemes separated by spaces; "~~" marks a morpheme that continues a word.
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

from src.common.errors import ModelError
from src.model.tokenizers.kobert import SPECIAL_TOKENS, as_bert_tokenizer

VOCAB_FILE = "vocab_54k.txt"
LIBRARY = "libmoran4dnlp.so"
CONFIG_FILE = "tokenizer_config.json"
CONTINUATION = "~~"
BUFFER_BYTES = 102_400  # as in the original
# The output is longer than the text: it has spaces and marks, and each one-byte letter may become a morpheme of four bytes.
TEXT_BYTES = BUFFER_BYTES // 8
LOOK_AHEAD = 8  # morphemes after a changed one among which `align` searches for one that occurs in the text


class HanBertTokenizer(PreTrainedTokenizerFast):
    """A Rust tokenizer with a pre-tokenizer in Python, which transformers can neither save nor hash: both are done here."""

    vocab_file: Path
    library: Path
    splitter: "MorphemeSplitter"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Tokenize as any tokenizer does. Raises ModelError if the analyser fails; the Rust library would hide that error."""
        self.splitter.failure = None
        try:
            return super().__call__(*args, **options)
        except Exception:
            if self.splitter.failure:
                raise self.splitter.failure from None
            raise

    def identity(self) -> list[str]:
        """Return what determines the ids: the SHA-256 of the vocabulary and of the analyser."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.vocab_file, self.library)]

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """Write the vocabulary and the path of the analyser, which is not copied, to `save_directory`."""
        folder = Path(save_directory)
        (folder / VOCAB_FILE).write_bytes(self.vocab_file.read_bytes())
        config = {"tokenizer_class": type(self).__name__, "library": str(self.library.absolute())}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_hanbert_tokenizer(folder: Path, trusted: bool) -> HanBertTokenizer:
    """Return the tokenizer of the published folder or of a checkpoint.

    Raises ModelError if a file is missing, or if the analyser is not trusted or cannot be loaded on this machine.
    """
    vocab_file, library = folder / VOCAB_FILE, folder / LIBRARY
    if not library.is_file() and (folder / CONFIG_FILE).is_file():  # a checkpoint, which contains only the library's path
        recorded = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("library")
        library = Path(recorded) if recorded else library
    if missing := [str(path) for path in (vocab_file, library) if not path.is_file()]:
        raise ModelError(f"HanBERT's tokenizer needs {' and '.join(missing)}. Unpack HanBert-54kN-torch.zip there.")
    if not trusted:
        raise ModelError(
            f"HanBERT's tokenizer runs native code, {library}: a program without source code, which can do anything that you can "
            "do. If you trust its origin, pass --trust_native_code."
        )
    lines = vocab_file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    vocab = {line.strip(): number for number, line in enumerate(lines)}
    if missing := [token for token in SPECIAL_TOKENS.values() if token not in vocab]:
        raise ModelError(f"{vocab_file} lacks {', '.join(missing)}. Unpack HanBert-54kN-torch.zip again.")
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=200))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    # Join pieces that start with "##" or "~~" to the word before them.
    backend.decoder = decoders.Sequence([decoders.WordPiece(cleanup=False), decoders.Replace(f" {CONTINUATION}", "")])
    tokenizer = as_bert_tokenizer(HanBertTokenizer, backend)
    tokenizer.vocab_file, tokenizer.library, tokenizer.splitter = vocab_file, library, MorphemeSplitter(Analyser(library))
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(tokenizer.splitter)
    return tokenizer


class Analyser:
    """The native library. Raises ModelError if it cannot be loaded or lacks the functions of the published one."""

    def __init__(self, library: Path) -> None:
        if not sys.platform.startswith("linux"):
            raise ModelError(f"{library} is a library for Linux; HanBERT cannot be used on {sys.platform}.")
        try:
            # PyDLL holds Python's GIL during a call: the library has global state, and the Rust library calls from many threads.
            native = ctypes.PyDLL(str(library.absolute()))
            self._analyse = native.Moran4dnlp
            open_dictionaries = native.MorAn16_open_dbs
        except (OSError, AttributeError) as error:
            raise ModelError(f"{library} cannot be loaded on this machine: {error}. It is built for Linux on x86-64.") from None
        self._analyse.restype = ctypes.c_char_p
        self._analyse.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
        self._output = ctypes.create_string_buffer(BUFFER_BYTES)
        open_dictionaries.restype = None
        open_dictionaries()

    def __call__(self, text: str) -> list[str]:
        """Return the morphemes of a text of any length without NUL characters. Raises ModelError if the analyser fails."""
        morphemes: list[str] = []
        for part in split_text(text):
            output = self._analyse(part.encode(), self._output, BUFFER_BYTES)
            if output is None:
                raise ModelError(f"HanBERT's analyser failed on {part[:40]!r}.")
            morphemes += output.decode("utf-8", "replace").split()
        return morphemes


def split_text(text: str) -> Iterator[str]:
    """Yield `text` in parts of at most TEXT_BYTES bytes, split after a space if there is one."""
    while len(text.encode()) > TEXT_BYTES:
        prefix = text.encode()[:TEXT_BYTES].decode("utf-8", "ignore")
        end = prefix.rfind(" ") + 1 or len(prefix)
        yield text[:end]
        text = text[end:]
    yield text


class MorphemeSplitter:
    """The pre-tokenizer: splits a text into morphemes and keeps the offsets of each."""

    def __init__(self, analyser: Analyser) -> None:
        self.analyser = analyser
        self.failure: ModelError | None = None  # the last error of the analyser

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        """Split `text` in place. The Rust library calls this method."""
        text.split(self._split)

    def _split(self, number: int, normalized: NormalizedString) -> list[NormalizedString]:
        text = str(normalized)
        try:
            morphemes = self.analyser(text)
        except ModelError as error:
            self.failure = error
            raise
        parts = []
        for morpheme, (start, end) in zip(morphemes, align(text, morphemes), strict=True):
            part = normalized[start:end]
            if part is None:
                continue
            if CONTINUATION + str(part) == morpheme:
                part.prepend(CONTINUATION)
            elif str(part) != morpheme:
                part.replace(str(part), morpheme)
            parts.append(part)
        return parts


def align(text: str, morphemes: Sequence[str]) -> list[tuple[int, int]]:
    """Return start and end of each morpheme in `text`.

    The analyser changes some morphemes: "했" becomes "하" and "~~았". These share the text up to the next unchanged morpheme. If
    there is none among the next LOOK_AHEAD, a changed morpheme gets the rest of the word; if no text is left, the last character.
    """
    surfaces = [morpheme.removeprefix(CONTINUATION) or morpheme for morpheme in morphemes]
    spans: list[tuple[int, int]] = []
    position = 0
    while len(spans) < len(surfaces):
        while position < len(text) and text[position].isspace():
            position += 1
        index = len(spans)
        if text.startswith(surfaces[index], position):
            spans.append((position, position + len(surfaces[index])))
            position = spans[-1][1]
            continue
        candidates = range(index + 1, min(index + 1 + LOOK_AHEAD, len(surfaces)))
        matches = [(start, later) for later in candidates if (start := text.find(surfaces[later], position)) >= 0]
        end, next_index = min(matches, default=(_end_of_word(text, position), index + 1))
        changed = text[position:end].rstrip()
        span = (position, position + len(changed)) if changed else (max(position - 1, 0), position)
        spans += [span] * (next_index - index)
        position = max(position, end)
    return spans


def _end_of_word(text: str, start: int) -> int:
    while start < len(text) and not text[start].isspace():
        start += 1
    return start
