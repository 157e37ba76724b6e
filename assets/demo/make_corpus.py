"""Writes the training documents of the demo model, all from our own lexicon and grammar.

A document is a list of parts (text, learn): `learn` False marks text on which the model is not
trained (most prompts). Shards are independent and depend only on (seed, shard), so they can be made
in parallel and in any order. Held-out combinations (held_out, held_out_sum) never occur.

    python3 make_corpus.py --documents 20    # print a sample
"""

import argparse
import random

import lexicon as lex
from haiku import generic_topic, load_topics, number_word, stable_hash, write_haiku

SEED = 20240
TOPICS = load_topics()
TOPIC_NAMES = list(TOPICS)
NUMBER_WORDS = [number_word(n) for n in range(100)]
KNOWN_WORDS = (
    [(w, "number" if w in ("zero", "one") else "plural") for w in NUMBER_WORDS]
    + [(w, "noun") for w in dict.fromkeys(lex.NOUNS)]
    + [(w, "mass") for w in dict.fromkeys(lex.MASS)]
    + [(w, "adjective") for w in dict.fromkeys(lex.ADJ_WORDS)]
    + [(w, "verb") for w in dict.fromkeys(lex.VERB_WORDS)]
)
ALL_WORDS = [w for w, _ in KNOWN_WORDS] + lex.RARE + lex.ANIMALS + lex.OBJECTS + lex.FOODS


def held_out(topic, word):
    """True for the (topic, required word) pairs kept for evaluation: the README's, and 1 in 20."""
    return (topic, word) == ("GPU computing", "forty-six") or stable_hash(topic, word) % 20 == 0


def held_out_sum(a, b):
    return stable_hash("sum", str(a), str(b)) % 10 == 0


def chat_prompt(user):
    """What the chat template makes of one user message."""
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def chat(*turns, learn_prompt=False):
    """ChatML turns (user, answer) as parts; the answer and its end mark are what is learned."""
    parts = []
    for user, answer in turns:
        parts.append((chat_prompt(user), learn_prompt))
        parts.append((f"{answer}<|im_end|>\n", True))
    return parts


def pseudo_word(rng):
    onset = "b br c cl d dr f fl g gr h j k l m n p pl qu r s sh sk st t th tr v w z".split()
    vowel = "a e i o u ai ea oo".split()
    coda = ["", "", "", "n", "r", "l", "m", "x", "sk", "nd", "rt", "ck"]
    return "".join(
        rng.choice(onset) + rng.choice(vowel) + rng.choice(coda)
        for _ in range(rng.choice((1, 2, 2, 3)))
    )


ASK = [
    "Write a haiku about {t}.",
    "Write a haiku about {t}.",
    "Write a haiku about {t}.",
    "Write me a haiku about {t}.",
    "Please write a haiku about {t}.",
    "Can you write a haiku about {t}?",
    "Compose a haiku about {t}.",
    "I would like a haiku about {t}.",
    "A haiku about {t}, please.",
    "Give me a haiku about {t}.",
    "Write a short haiku about {t}.",
    "Could you write a haiku on {t}?",
    "Haiku about {t}.",
    "Make a haiku about {t}.",
    "Create a haiku on the subject of {t}.",
    "Write one haiku about {t}.",
    "The topic is {t}. Write a haiku.",
    "Tell me about {t} in a haiku.",
    "Write a poem of three lines about {t}.",
    "Think of {t} and write a haiku.",
]
MUST = [
    "Use the word {w}.",
    "Use the word {w}.",
    "Use the word {w}.",
    "It must contain the word {w}.",
    "Include the word {w}.",
    "It should contain {w}.",
    "The word {w} must appear.",
    "Please use the word {w}.",
    "Use {w} in it.",
    "Make sure that it contains the word {w}.",
    "One line must have the word {w}.",
    "With the word {w}.",
    'Use the word "{w}".',
    'Include "{w}".',
    "It must contain {w}.",
    "Do not forget the word {w}.",
    "The poem has to mention {w}.",
    "Put the word {w} in one of the lines.",
]
JOINED = [
    "Write a haiku about {t} with the word {w}.",
    "Write a haiku about {t} that contains the word {w}.",
    "Using the word {w}, write a haiku about {t}.",
    "Use the word {w} in a haiku about {t}.",
    "Write a haiku about {t} using the word {w}.",
    "A haiku about {t} with {w} in it, please.",
]
ANY_TOPIC = [
    "Write a haiku. Use the word {w}.",
    "Write a haiku with the word {w}.",
    "Write a haiku that contains {w}.",
    "Please write a haiku. It must contain the word {w}.",
    "A haiku with the word {w}, please.",
]


def haiku_prompt(topic, word, rng):
    if word is None:
        text = rng.choice(ASK).format(t=topic)
    elif topic is None:
        text = rng.choice(ANY_TOPIC).format(w=word)
    elif rng.random() < 0.2:
        text = rng.choice(JOINED).format(t=topic, w=word)
    elif rng.random() < 0.1:
        text = rng.choice(MUST).format(w=word) + " " + rng.choice(ASK).format(t=topic)
    else:
        text = rng.choice(ASK).format(t=topic) + " " + rng.choice(MUST).format(w=word)
    if rng.random() < 0.06:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.05:
        text = text.rstrip(".?")
    return text


def required_word(rng):
    """(word, grammar slot): known words, rare ones and invented ones that can only be copied."""
    roll = rng.random()
    if roll < 0.30:
        return KNOWN_WORDS[rng.randrange(100)]
    if roll < 0.72:
        return KNOWN_WORDS[rng.randrange(100, len(KNOWN_WORDS))]
    if roll < 0.86:
        return rng.choice(lex.RARE), "noun"
    return pseudo_word(rng), "name"


def haiku_turn(rng):
    if rng.random() < 0.12:
        name = rng.choice(ALL_WORDS[100:]) if rng.random() < 0.6 else pseudo_word(rng)
        topic = generic_topic(name, rng)
    else:
        topic = TOPICS[rng.choice(TOPIC_NAMES)]
    if rng.random() < 0.08:
        return haiku_prompt(topic.name, None, rng), write_haiku(topic, None, None, rng)
    word, kind = required_word(rng)
    while held_out(topic.name, word) or word == topic.name:
        word, kind = required_word(rng)
    asked = None if rng.random() < 0.05 else topic.name
    return haiku_prompt(asked, word, rng), write_haiku(topic, word, kind, rng)


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def story_text(hero, animal, thing, rng):
    other = rng.choice([n for n in lex.NAMES if n != hero])
    color, place = rng.choice(lex.COLORS), rng.choice(lex.STORY_PLACES)
    begin = [
        f"{hero} was {article(animal)} who lived {place}.",
        f"Once there was {article(animal)} called {hero}, {place}.",
        f"{place[0].upper() + place[1:]} lived {article(animal)} named {hero}.",
    ]
    find = [
        f"One day {hero} found a {color} {thing}.",
        f"One morning {hero} saw a {color} {thing} in the grass.",
        f"After the rain {hero} picked up a {color} {thing}.",
        f"Late at night {hero} heard a sound: it was a {color} {thing}.",
    ]
    worry = [
        f"Nobody knew whose {thing} it was.",
        f"The {thing} was cold, and it would not shine.",
        f'"Who lost this {thing}?" asked {hero}.',
        f"{hero} did not know what to do with the {thing}.",
        f"But the {thing} was broken, and {hero} was sad.",
    ]
    help_ = [
        f"{other} came by and looked at the {thing}.",
        f"So {hero} asked {other} for help.",
        f"{hero} took the {thing} to {other}.",
        f'{other} said, "That {thing} belongs to the {rng.choice(lex.JOBS)}."',
    ]
    act = [
        "They walked all day and all night.",
        "They sat down and thought for a long time.",
        "It began to snow, but they went on.",
        f"They looked in the {rng.choice(lex.ROOMS)} and then in the {rng.choice(lex.ROOMS)}.",
        "They worked until the stars came out.",
    ]
    end = [
        f"From then on, the {thing} stood in the window, and everyone was glad.",
        f"In the end {hero} gave the {thing} away and slept well.",
        f"And {hero} the {animal} was never lonely again.",
        f"When the sun rose, the {thing} was bright again, and {hero} smiled.",
        f"That evening {hero} and {other} shared some {rng.choice(lex.FOODS)} and laughed.",
    ]
    return " ".join(rng.choice(x) for x in (begin, find, worry, help_, act, end))


def story_turn(rng):
    hero, animal, thing = rng.choice(lex.NAMES), rng.choice(lex.ANIMALS), rng.choice(lex.OBJECTS)
    a, o = article(animal), article(thing)
    ask = rng.choice(
        [
            f"Tell me a short story about {a} and {o}.",
            f"Write a very short story about {a} who finds {o}.",
            f"Tell me a story about {a} called {hero} and {o}.",
            f"A short story about {hero} the {animal} and {o}, please.",
            f"Write a story with {a} and {o}.",
            f"Can you tell me a story about {hero} the {animal}? Use {o}.",
        ]
    )
    return ask, story_text(hero, animal, thing, rng)


def facts(count, rng):
    """`count` unrelated facts as (sentence, question, answer)."""
    things, names = rng.sample(lex.OBJECTS, count), rng.sample(lex.NAMES, count)
    rooms = rng.sample(lex.ROOMS, count)
    out = []
    for thing, name, room in zip(things, names, rooms):
        kind, color = rng.randrange(7), rng.choice(lex.COLORS)
        if kind == 0:
            s = f"The {thing} is in the {color} {rng.choice(lex.CONTAINERS)}."
            out.append((s, f"Where is the {thing}?", s))
        elif kind == 1:
            s = f"{name} has the {color} {thing}."
            out.append(
                (s, f"Who has the {color} {thing}?", s)
                if rng.random() < 0.5
                else (s, f"What does {name} have?", s)
            )
        elif kind == 2:
            s = f"{name} lives in {pseudo_word(rng).capitalize()}."
            out.append((s, f"Where does {name} live?", s))
        elif kind == 3:
            s = f"{name} likes {rng.choice(lex.FOODS)}."
            out.append((s, f"What does {name} like?", s))
        elif kind == 4:
            code = "".join(rng.choice("0123456789") for _ in range(4))
            out.append(
                (
                    f"The code for the {room} is {code}.",
                    f"What is the code for the {room}?",
                    f"The code is {code}.",
                )
            )
        elif kind == 5:
            s = f"The {thing} is in the {room}."
            out.append((s, f"Where is the {thing}?", s))
        else:
            s = f"{name} is {article(rng.choice(lex.JOBS))}."
            out.append((s, f"What is {name}?", s))
    return out


def recall_turns(rng):
    known = facts(rng.randint(2, 6), rng)
    context = " ".join(f[0] for f in known)
    asked = rng.sample(known, min(len(known), rng.choice((1, 1, 1, 2, 3))))
    turns = [(f"{context} {asked[0][1]}", asked[0][2])]
    return turns + [(f[1], f[2]) for f in asked[1:]]


def copy_turn(rng):
    words = [
        rng.choice(ALL_WORDS) if rng.random() < 0.7 else pseudo_word(rng)
        for _ in range(rng.randint(2, 12))
    ]
    sep = rng.choice((" ", ", ", " "))
    text = sep.join(words)
    ask = rng.choice(
        [
            "Repeat these words: {}",
            "Copy: {}",
            "Say this again: {}",
            "Repeat after me: {}",
            "Copy this line: {}",
            "Write down: {}",
        ]
    )
    return ask.format(text), text


def counting_turn(rng):
    start = rng.randrange(0, 95)
    stop = min(start + rng.randint(2, 12), 99)
    down, digits = rng.random() < 0.25, rng.random() < 0.2
    run = list(range(start, stop + 1))
    if down:
        run.reverse()
    say = (lambda n: str(n)) if digits else number_word
    ask = rng.choice(
        [
            "Count from {a} to {b}.",
            "Please count from {a} to {b}.",
            "Can you count from {a} to {b}?",
        ]
    )
    if down:
        ask = "Count down from {a} to {b}."
    return ask.format(a=say(run[0]), b=say(run[-1])), ", ".join(map(say, run)) + "."


def sum_turn(rng):
    while True:
        a, b = (
            (rng.randrange(100), rng.randrange(100))
            if rng.random() < 0.8
            else (rng.randrange(20), rng.randrange(20))
        )
        if not held_out_sum(a, b):
            break
    ask = rng.choice(
        [
            "What is {a} + {b}?",
            "What is {a} + {b}?",
            "Add {a} and {b}.",
            "How much is {a} plus {b}?",
            "{a} + {b} =",
        ]
    )
    return ask.format(a=a, b=b), f"{a} + {b} = {a + b}."


def number_turn(rng):
    n = rng.randrange(100)
    if rng.random() < 0.5:
        return f"Write {n} in words.", f"{number_word(n)}."
    return f"Write {number_word(n)} in digits.", f"{n}."


def answer_turn(rng):
    return tuple(rng.choice(lex.ANSWERS).split("|"))


def plain_text(rng):
    roll = rng.random()
    if roll < 0.4:
        return [(" ".join(rng.sample(lex.STATEMENTS, rng.randint(2, 6))), True)]
    if roll < 0.7:
        return [
            (
                story_text(
                    rng.choice(lex.NAMES), rng.choice(lex.ANIMALS), rng.choice(lex.OBJECTS), rng
                ),
                True,
            )
        ]
    if roll < 0.85:
        return [(haiku_turn(rng)[1], True)]
    return [(" ".join(f[0] for f in facts(rng.randint(3, 6), rng)), True)]


def repeated_ids(rng, n_regular):
    """Random tokens said again and again: the only way to foretell them is an induction head."""
    length, times = rng.randint(10, 90), rng.choice((2, 2, 3))
    block = [rng.randrange(n_regular) for _ in range(length)]
    return [(block, False), (block * (times - 1), True)]


SINGLE = [
    (0.72, haiku_turn),
    (0.08, story_turn),
    (0.05, counting_turn),
    (0.09, sum_turn),
    (0.03, number_turn),
    (0.03, answer_turn),
]


def single_turn(rng):
    roll = rng.random()
    for weight, make in SINGLE:
        roll -= weight
        if roll < 0:
            return make(rng)
    return answer_turn(rng)


def document(rng, n_regular):
    """One document as parts (text or token ids, learn)."""
    roll = rng.random()
    if roll < 0.05:
        return chat(single_turn(rng), learn_prompt=True)
    if roll < 0.56:
        return chat(single_turn(rng))
    if roll < 0.64:
        return chat(*[single_turn(rng) for _ in range(rng.choice((2, 2, 3)))])
    if roll < 0.76:
        return chat(*recall_turns(rng))
    if roll < 0.84:
        return chat(copy_turn(rng))
    if roll < 0.90:
        return chat(sum_turn(rng))
    if roll < 0.925:
        return chat(counting_turn(rng))
    if roll < 0.955:
        return plain_text(rng)
    return repeated_ids(rng, n_regular)


def shard_documents(shard, count, n_regular, seed=SEED):
    rng = random.Random(f"{seed}-{shard}")
    for _ in range(count):
        yield document(rng, n_regular)


def tokenizer_texts(count, seed=SEED):
    """Text on which the tokenizer is trained: documents without their random-token parts."""
    for parts in shard_documents("tokenizer", count, 4096, seed):
        if isinstance(parts[0][0], str):
            yield "".join(text for text, _ in parts)
    for word in ALL_WORDS + lex.NAMES + lex.JOBS + lex.ROOMS + lex.CONTAINERS:
        for form in (f" {word}", f" {word.capitalize()}", word):
            yield form * 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--shard", default="0")
    args = parser.parse_args()
    for parts in shard_documents(args.shard, args.documents, 4096):
        print("".join(t if isinstance(t, str) else f"{t[:8]}... " for t, _ in parts) + "\n----")


if __name__ == "__main__":
    main()
