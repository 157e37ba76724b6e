"""Haiku grammar of the demo corpus: (topic, required word) -> three lines of about 5-7-5 syllables.

Choices are drawn from a caller's random generator, but skewed: each topic and each group of
required words prefers some patterns, so that the most likely poem differs from prompt to prompt and
greedy decoding does not fall back on one poem for everything.
"""

import functools
import re
import zlib

import lexicon as lex

UNITS = (
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen""".split()
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
EXCEPTIONS = {w.rsplit(":", 1)[0]: int(w.rsplit(":", 1)[1]) for w in lex.SYLLABLES}


def number_word(n):
    """English words for 0 <= n <= 99, hyphenated above twenty."""
    if n < 20:
        return UNITS[n]
    return TENS[n // 10 - 2] + ("-" + UNITS[n % 10] if n % 10 else "")


def stable_hash(*parts):
    """The same on every machine and run, unlike hash()."""
    return zlib.crc32("|".join(parts).encode())


@functools.lru_cache(maxsize=None)
def word_syllables(word):
    word = word.lower().strip(".,;:!?\"'")
    if word in EXCEPTIONS:
        return EXCEPTIONS[word]
    if "-" in word:
        return sum(word_syllables(part) for part in word.split("-"))
    count = len(re.findall(r"[aeiouy]+", word))
    if re.search(r"[^aeiouyl]e$", word) or re.search(r"[aeiou]le$", word):
        count -= 1  # silent final e; "le" after a consonant is a syllable
    if re.search(r"([^aeioutd]ed|[^aeiouysxzhcg]es)$", word) and not re.search(
        r"[^aeiou]les$", word
    ):
        count -= 1
    if re.search(r"(ia|io|eo|iu|ua)(?!u)", word) and not re.search(
        r"(tion|sion|cial|tial|gion|qua)", word
    ):
        count += 1
    return max(count, 1)


def syllables(text):
    return sum(word_syllables(w) for w in text.split())


def third_person(verb):
    if verb.endswith(("sh", "ch", "ss", "x", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def fix_articles(line):
    return re.sub(r"\ba (?=[aeiou](?!ne\b|nic))", "an ", line)


class Topic:
    """One subject: its nouns, and its lines by syllable count, hand-written ones first."""

    def __init__(self, name, mood, singular, plural, fives, sevens):
        self.name, self.mood = name, mood
        self.singular, self.plural = singular, plural
        self.verbs = lex.VERBS[mood].split(",")
        self.adjectives = lex.ADJECTIVES[mood].split(",")
        self.key = stable_hash(name)
        self.fives, self.sevens = fives, sevens

    def fill(self, pattern, rng, word=""):
        def slot(match):
            kind = match.group(1)
            if kind == "w":
                return word
            if kind == "s":
                return rng.choice(self.singular)
            if kind == "p":
                return rng.choice(self.plural)
            if kind == "v":
                return third_person(rng.choice(self.verbs))
            if kind == "u":
                return rng.choice(self.verbs)
            if kind == "a":
                return rng.choice(self.adjectives)
            return rng.choice(lex.TIMES)

        return fix_articles(re.sub(r"\{(\w)\}", slot, pattern))


LINES5 = [
    "the {s} {v} {t}",
    "{a} {p} {u}",
    "{p} {t}",
    "one {s} {v} {t}",
    "a {a} {s} {v}",
    "the {a} {s} {v}",
    "{p} {u} {t}",
    "the {s}, {a} and {a}",
    "now the {s} {v}",
    "{a} {p} {t}",
    "still the {s} {v}",
    "we watch the {p} {u}",
    "only the {s} {v}",
]
LINES7 = [
    "the {a} {s} {v} {t}",
    "{p} {u} where the {s} {v}",
    "a {s} {v} and is gone",
    "beyond the {s} the {p} {u}",
    "{a} {p} {u} {t}",
    "the {s} {v} and the {p} {u}",
    "no one hears the {s} {t}",
    "a hush between the {p}",
    "every {s} {v} {t}",
    "the {p} {u} and the {s} {v}",
    "under the {s}, {a} {p} {u}",
    "somewhere a {s} {v} {t}",
]

WORD_LINES = {
    "plural": [
        "{w} {p}",
        "I count {w}",
        "{w} {p} {u}",
        "{w} {a} {p}",
        "just {w} {p}",
        "{w} left to go",
        "I count {w} {p}",
        "a count of {w}",
        "only {w} {p}",
        "{w} {p} at rest",
        "after {w} {p}",
        "{w} {a} {p} {u}",
        "the {s} counts to {w}",
        "{w} {p} in the dark",
        "somewhere {w} {p} {u}",
        "{w} {p} beneath the moon",
        "{w} breaths beside the {s}",
        "the {s} dreams of {w} {p}",
        "we wait for {w} {p}",
        "and then {w} {p} {u}",
        "{w} {p} {u} {t}",
        "{w} times the {s} {v}",
    ],
    "number": [
        "at {w} the {s} {v}",
        "the clock turns {w}",
        "minute {w} comes",
        "the dial reads {w}",
        "we begin at {w}",
        "number {w} glows",
        "back to {w} again",
        "the {s} whispers {w}",
        "I stop at {w}",
        "minute {w} slips past the {s}",
        "the count is {w}",
        "{w} on the old clock face",
        "it is {w} and the {s} {v}",
        "the {s} {v} at {w}",
    ],
    "noun": [
        "the {w} and the {s}",
        "a {w} {t}",
        "the {w} {v}",
        "a {a} {w} {v}",
        "the {w} {v} {t}",
        "one {w} and the {s}",
        "beside the {w}",
        "where the {w} {v}",
        "the {s} dreams of a {w}",
        "a {w} among the {p}",
        "like a {w} {t}",
        "the {a} {w} {v}",
        "a {w} {v} by the {s}",
        "only a {w}",
        "the {p} circle a {w}",
        "the shape of a {w}",
    ],
    "mass": [
        "{w} over the {s}",
        "so much {w} {t}",
        "made of {w} and light",
        "the {s} knows {w}",
        "{w} and {a} {p}",
        "full of {w} {t}",
        "{w} on the {p}",
        "the {w} {v} {t}",
        "{w} {t}",
        "a {s} of {w} {v}",
        "the {p} turn to {w}",
        "all this {w} {t}",
        "how the {w} {v}",
        "{w} between the {p}",
    ],
    "adjective": [
        "the {w} {s} {v}",
        "{w} {p} {u}",
        "so {w}, the {s}",
        "{w} and still, the {s}",
        "how {w} it seems",
        "in the {w} light",
        "a {w} {s} {v} {t}",
        "{w} {p} {t}",
        "the {s} grows {w}",
        "{w}, the {s} {v} {t}",
        "the {w} hour {v}",
        "everything is {w}",
        "one {w} {s} {t}",
        "the {w} {p} {u}",
    ],
    "verb": [
        "we {w} {t}",
        "the {p} {w}",
        "let the {s} {w}",
        "I {w} by the {s}",
        "{p} that {w} {t}",
        "to {w} and be still",
        "the {p} {w} {t}",
        "they {w} like {a} {p}",
        "come and {w} {t}",
        "I {w} and the {s} {v}",
        "{a} {p} {w}",
        "nothing left but to {w}",
        "all the {p} {w}",
        "we {w} beside the {s}",
    ],
    "name": [
        "I call it {w}",
        "its name is {w}",
        "we whispered {w}",
        "the {s} says {w}",
        "a voice murmurs {w}",
        "the word {w} {t}",
        "the word {w} {v} {t}",
        "someone carved {w}",
        "in the dust, the word {w}",
        "the {p} spell {w}",
        "{w}, says the {s}",
        "say {w} to the {s}",
        "the {s} remembers {w}",
        "the last word is {w}",
        "I wrote {w} {t}",
    ],
}


def load_topics():
    """Every topic of the lexicon; generated lines stay only where the syllables come out right."""
    import random

    topics = {}
    for mood, block in lex.TOPICS.items():
        for row in block.strip().split("\n"):
            name, singular, plural, fives, sevens = row.split("|")
            topic = Topic(
                name,
                mood,
                singular.split(","),
                plural.split(","),
                fives.split(";"),
                sevens.split(";"),
            )
            extend(topic, random.Random(topic.key))
            topics[name] = topic
    return topics


def extend(topic, rng, size=40):
    for patterns, pool, target in ((LINES5, topic.fives, 5), (LINES7, topic.sevens, 7)):
        seen, tries = set(pool), 0
        while len(pool) < size and tries < 600:
            tries += 1
            line = topic.fill(rng.choice(patterns), rng)
            words = [w for w in re.findall(r"\w+", line) if len(w) > 3]
            if line not in seen and syllables(line) == target and len(set(words)) == len(words):
                seen.add(line)
                pool.append(line)


def generic_topic(name, rng):
    """A topic that the lexicon does not know: the poem can only repeat its name."""
    mood = rng.choice(("machine", "wild", "home"))
    topic = Topic(name, mood, [name], ["shadows", "echoes", "hours", "windows"], [], [])
    extend(topic, rng, 6)
    for pool in (topic.fives, topic.sevens):
        if not pool:
            pool.append(f"the {name} waits")
    return topic


def skewed(rng, count, offset):
    """An index near `offset`: the preferred one about half of the time, others ever less often."""
    step = 0
    while step < count - 1 and rng.random() < 0.5:
        step += 1
    return (offset + step) % count


def word_line(topic, word, kind, target, rng, offset, first):
    patterns = WORD_LINES[kind]
    if kind == "plural" and rng.random() < 0.25:
        patterns = WORD_LINES["number"]
    elif rng.random() < 0.08:
        patterns = WORD_LINES["name"]
    best = None
    for attempt in range(24):
        pattern = patterns[skewed(rng, len(patterns), offset + attempt)]
        if first and pattern.startswith("{w}"):
            continue  # the required word keeps its own case, so it never opens the poem
        line = topic.fill(pattern, rng, word)
        if len(re.findall(rf"\b{re.escape(word)}\b", line)) != 1:
            continue
        error = abs(syllables(line) - target)
        if best is None or error < best[0]:
            best = (error, line)
        if error == 0:
            break
    return best[1] if best else f"the word {word} remains"


def write_haiku(topic, word, kind, rng):
    """Three lines; `word` (or None) stands in one of them, spelled as given."""
    group = stable_hash(word) % 12 if word else 12
    places = [(topic.key + i) % 3 for i in range(3)]
    place = places[skewed(rng, 3, group % 3)] if word else -1
    lines = []
    for i, target in enumerate((5, 7, 5)):
        if i == place:
            lines.append(word_line(topic, word, kind, target, rng, topic.key % 97 + group, i == 0))
            continue
        pool = topic.sevens if target == 7 else topic.fives
        # The hand-written lines open the pool; one word group in four leans on the generated ones.
        offset = group * 3 + i if group % 4 == 3 else group % 2 if i < 2 else 1 - group % 2
        for _ in range(8):
            line = pool[skewed(rng, len(pool), offset)]
            if line not in lines:
                break
        lines.append(line)
    first = lines[0][0].upper() + lines[0][1:]
    mark = ("", ",", "", ";")[(topic.key + group) % 4]
    return f"{first}\n{lines[1]}{mark}\n{lines[2]}."
