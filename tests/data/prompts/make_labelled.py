"""Writes labelled.tsv: 600 prompts as users write them, 480 clean and 30 of each fault, label first.

    python3 tests/data/prompts/make_labelled.py > tests/data/prompts/labelled.tsv

Words, sentences and faults are others than those of deploy/examples/shapes. The filter is not tuned to them: they tell how it
does on prompts that its rules were not written for."""
import random

rng = random.Random(20240517)
CLEAN, FAULTY = 480, 30

SUBJECTS = """lighthouse; wolf; samurai; greenhouse; owl; steam locomotive; ballerina; fox; castle; submarine; violinist; whale; cottage
astronaut; tiger; market stall; cellist; koi pond; windmill; raven; knight in dented armour; vending machine; red panda; bonsai tree
jazz trio; elephant; viaduct; octopus; street food vendor; glacier; heron; cathedral; vintage Vespa; beekeeper; lynx; DSLR camera
cyborg; coral reef; librarian; thunderstorm; hummingbird; suspension bridge; blacksmith; UFO; VW bus; teapot; Tintin; Cthulhu
BMW motorcycle; sphinx; Maori warrior; grand piano; chess player; jellyfish; Ferris wheel; hot air balloon; T-rex; croissant; R2D2
geisha; Yggdrasil; pocket watch; fishing boat; Gandalf; snow leopard; rice terrace; drummer; moth""".replace("\n", ";").split(";")
ADJECTIVES = """weathered; crimson; translucent; moss-covered; sleepy; gilded; rusty; curious; paper-cut; enormous; tattooed; blue and
white; elderly; frozen; bioluminescent; tiny; clockwork; wet; yellow orange; black and gold; hand-carved; graceful; pink; two-headed
origami; cheerful; one-eyed; dusty; emerald; striped""".replace("\n", ";").split(";")
ACTIONS = """waiting for the rain; at the end of a pier; wrapped in fog; under a neon sign; on a cliff above the sea; inside a glass jar
reflected in a puddle; during the blue hour; crossing a frozen river; among sunflowers; with smoke rising behind; seen from above
in an abandoned factory; lit by candles; surrounded by fireflies; in downtown NYC; on the moon; at a night market in Hanoi
next to a pile of old books; drifting through clouds; beside a waterfall; on a cobbled street in Lisbon; under the northern lights
in a desert at dawn; behind a rain-streaked window; with three children watching; in front of the Taj Mahal; half buried in sand
over a field of lavender; not far from a volcano""".replace("\n", ";").split(";")
STYLES = """watercolour; oil on canvas; 35mm film; studio lighting; by Wlop and Artgerm; ukiyo-e print; low poly render; pencil sketch
trending on artstation; 8k, octane render; Art Nouveau poster; isometric pixel art; macro photograph; charcoal; in the style of Ghibli
stained glass; cinematic, shallow depth of field; golden hour; GTA V cover art; VFX concept; unreal engine 5; linocut; double exposure
wallpaper 1920x1080; in the style of Moebius; long exposure""".replace("\n", ";").split(";")
SUBJECTS, ADJECTIVES, ACTIONS, STYLES = (
    [text.strip() for text in texts] for texts in (SUBJECTS, ADJECTIVES, ACTIONS, STYLES))
pick = rng.choice


def with_article(text):
    return f"an {text}" if text[0].lower() in "aeiou" and not text.startswith(("UFO", "one")) else f"a {text}"


def clean():
    subject, adjective, action, style = pick(SUBJECTS), pick(ADJECTIVES), pick(ACTIONS), pick(STYLES)
    thing = with_article(f"{adjective} {subject}")
    return pick((
        f"{thing} {action}, {style}", f"{thing} {action}", f"{subject} {action}, {style}, {pick(STYLES)}", f"{thing}, {style}",
        f"{with_article(subject)} and {with_article(pick(SUBJECTS))} {action}", f"{style} of {thing} {action}",
        f"{pick(('two', 'three', 'five'))} {adjective} figures and {with_article(subject)} {action}.",
        f"{thing.capitalize()} {action}. {style.capitalize()}.", f"{subject} made of {pick(('glass', 'moss', 'brass', 'bread'))}"))


def vague(_):
    good, it = pick(("nice", "great", "awesome", "beautiful", "amazing", "really cool", "very good")), pick(("image", "picture", "thing", "pic"))
    return pick((
        f"{with_article(good)} {it}", f"something {good} please", f"make it {good}", f"just some {it}s", f"{good} art", f"{good} stuff",
        f"anything you like", f"the best {it} ever", f"{with_article(it)} that looks {good}", f"i want {with_article(good)} {it}",
        f"{good}, {pick(('good', 'fine', 'lovely'))}, {it}", f"draw me something", f"{it} of a person or thing"))


def swap(word):
    i = rng.randrange(len(word) - 1)
    return word[:i] + word[i + 1] + word[i] + word[i + 2:]


def garbled(prompts):
    words = pick(prompts).replace(",", "").replace(".", "").lower().split()
    how = rng.randrange(4)
    if how == 0:
        rng.shuffle(words)
        return " ".join(words)
    if how == 1:  # typed in a hurry
        return " ".join(swap(word) if len(word) > 3 else word for word in words)
    if how == 2:  # a cat on the keys
        return " ".join("".join(pick("asdfghjkl;") for _ in range(rng.randint(3, 9))) for _ in range(rng.randint(1, 4)))
    return " ".join("".join(pick("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(4, 9))) for _ in range(rng.randint(2, 6)))


def near_duplicate(prompts):
    text = pick(prompts)
    words = text.split()
    middle = rng.randrange(1, len(words))
    return pick((
        text.upper(), f"{text}!!", f"  {text} ,", f"please draw {text}", f"a picture of {text}", text.replace("a ", "the ", 1), f"{text} please",
        text.replace(",", ""), " ".join([*words[:middle], "very", *words[middle:]]),
        text.replace("tiny", "little").replace("enormous", "huge").replace("in front of", "before").replace("next to", "beside")))


def contradictory(_):
    subject, (one, two) = pick(SUBJECTS), rng.sample(["red", "green", "blue", "yellow", "brown", "pink"], 2)
    return pick((
        f"a {one} {two} circle {pick(ACTIONS)}", f"a square circle, {pick(STYLES)}", f"a {one} ball that is not {one}",
        f"{with_article(subject)} without any {subject}", f"an empty room full of {subject}s", f"a completely {one}, completely {two} {subject}",
        f"a very tall very short {subject}", f"{with_article(subject)} to the right of itself", f"a round triangle {pick(ACTIONS)}",
        f"no {subject} but a {subject}", f"a cube above a cone above the cube", f"a bright sunny day at midnight, {subject}",
        f"exactly three, exactly four {subject}s", f"an old young {subject}", f"two one {one} stars"))


rows, seen = [], set()


def add(label, count, make, *args):
    while count > 0:
        text = make(*args)
        if text.strip() in seen:
            continue
        seen.add(text.strip())
        rows.append((label, text))
        count -= 1


add("clean", CLEAN, clean)
prompts = [text for _, text in rows]
for maker in (vague, garbled, near_duplicate, contradictory):
    add(maker.__name__, FAULTY, maker, prompts)
rng.shuffle(rows)
print("label\tprompt")
for label, text in rows:
    print(f"{label}\t{text}")
