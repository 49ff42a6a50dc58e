"""The words around names: what makes a name a mention of style, and what makes it something else.

All words are folded as `prompt_words` folds them: lower case, without accents.
"""

from functools import cache
from pathlib import Path

_WORDS = Path(__file__).resolve().parent / "words"


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(
        tuple(line.split()) for phrase in text.split("\n") for line in phrase.split(",") if line.strip()
    )


@cache
def english() -> frozenset[str]:
    """English words that are not proper names, at least 3 letters long."""
    return _load("english.txt")


@cache
def proper_names() -> frozenset[str]:
    """Names of people, places and things that English dictionaries list."""
    return _load("proper.txt")


@cache
def given_names() -> frozenset[str]:
    """Given names of many languages: to the left of a surname that is not theirs they name another person."""
    return GIVEN_NAMES | _load("given.txt")


def _load(file: str) -> frozenset[str]:
    lines = (_WORDS / file).read_text(encoding="ascii").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


PARTICLES = frozenset(
    "van von vom zu zum de der den des del della dello di da do dos du la le les los el al bin ibn ter ten af av y e "
    "st saint mac".split()
)
"""Words that belong to the surname behind them."""

NAME_ENDINGS = frozenset("jr sr junior senior ii iii iv elder younger".split())
"""Words behind a surname that are no part of it."""

STYLE_LEFT = _phrases("""
by, art by, style of, styles of, style, styled after, styled like, stylings of, manner of, fashion of, spirit of, way of
vein of, tradition of, school of, works of, work of, art of, artwork of, artworks of, paintings of, canvases of
technique of, techniques of, palette of, colors of, colours of, brushwork of, brushstrokes of, aesthetic of
aesthetics of, look of, mood of, vibe of, vibes of, hand of, influence of, influences of, imitation of, echoes of
inspired by, inspired from, inspiration from, influenced by, influence from, reminiscent of, evocative of
mix of, mixture of, blend of, mashup of, fusion of, hybrid of, combination of, collaboration of
homage to, hommage to, tribute to, ode to, nod to, similar to, evoking, channeling, channelling, emulating
imitating, mimicking, a la, ala, painted like, drawn like, rendered like, like, as if by, as painted by, as drawn by
as if painted by, after, artist, artists, painter, photographer, illustrator, artstyle, art style, illustrations of
im stil von, stil von, stil des, stile von, nach art von, nach, gemalt von, art von, von
style de, maniere de, facon de, peint par, inspire de, inspire par, par, d apres, dans le style
estilo de, estilo del, manera de, pintado por, inspirado en, inspirado por, por, no estilo de, ao estilo de, a moda de
stile di, maniera di, dipinto da, ispirato a, alla, stijl van, trant van, geschilderd door, door
stil av, stilen av, stilen till, inspirerad av, malad av, stil af, stylu, w stylu, ve stylu, styl, tyylilla
v stile, stile, u stili, avtor, khudozhnika, stilul lui, tarzinda
""")
"""Phrases that end right before the name of an artist whose style is asked for."""

STRONG_BY = frozenset(
    "art artwork painting paintings drawing illustration illustrations photo photograph photography work works piece "
    "masterpiece sketch print portrait landscape concept design render sculpture comic cover poster fresco mural "
    "watercolor watercolour oil canvas engraving etching lithograph painted drawn illustrated designed created made "
    "inspired influenced rendered photographed directed sculpted engraved style styled tattoo animation film manga "
    "anime sketched composed imagined interpreted reimagined directed shot and".split()
)
"""Words before "by" behind which even a common word is a name."""

CUE_PARTICIPLES = frozenset(
    "painted drawn illustrated designed created made inspired influenced rendered photographed directed sculpted "
    "engraved sketched styled imagined interpreted reimagined depicted".split()
)
"""Participles that fall with the "by" behind them."""

STYLE_RIGHT = frozenset(
    "style styled styles stylized stylised stylization esque ish ian inspired influenced aesthetic aesthetics vibe "
    "vibes artstyle like core stil stijl estilo stile stylu manner technique brushwork brushstrokes palette tarzi "
    "tarzinda styl ized ification ism era mode 風 风 風格 风格 スタイル 스타일".split()
)
"""Words behind a name that make it a mention of style, joined by a hyphen or a space."""

HYPHEN_ONLY = frozenset("like core ian ish esque ized ification ism era mode".split())
"""Those of STYLE_RIGHT that say so only when joined to the name."""

FUSED_SUFFIXES = (
    "esque ish ian like style styled core inspired esk esco esca iano iana ien ienne ism ismo ismus ized ising s 의 풍 풍의"
).split()
"""Endings grown onto a name."""

GROWN_SUFFIXES = tuple(suffix for suffix in FUSED_SUFFIXES if suffix.isascii() and suffix != "s")
"""Those before which a name may lose its last letters, or be misspelt."""

INFLECTIONS = {
    # Slavic names, Cyrillic ones as `prompt_words` transliterates them.
    "iego": ("i",),
    "iemu": ("i",),
    "skim": ("ski", "skii", "sky"),
    "skogo": ("skii", "ski", "skoi", "sky"),
    "skomu": ("skii", "ski", "skoi", "sky"),
    "skoi": ("skaia",),
    "ogo": ("oi", "yi", "ii"),
    "omu": ("oi", "yi", "ii"),
    "owi": ("", "o"),
    "ovi": ("", "o"),
    "ova": ("",),
    "ovo": ("",),
    "a": ("", "o"),
    "u": ("", "a", "o"),
    "om": ("", "o"),
    "em": ("", "e"),
    "ym": ("", "yi"),
    "e": ("", "a"),
    "y": ("a", ""),
    "i": ("a", "ia", ""),
    "oi": ("a",),
    "ei": ("ia",),
    "ia": ("",),
    "iu": ("", "ia"),
    "iem": ("",),
    # Finnish and Turkish genitives.
    "nin": ("",),
    "nun": ("",),
}
"""Endings of cases, and what stands in their place in the name itself."""

COLLECTIVES = frozenset(
    "of the collective group studios workshop team crew brothers sisters company associates gallery museum academy "
    "school house".split()
)
"""Words of a name that is no person's: its last word is no surname."""

ART_NOUNS = frozenset(
    "painting paintings artwork artworks art drawing drawings sketch sketches print prints woodblock fresco "
    "illustration illustrations poster posters lithograph lithographs etching etchings engraving engravings mosaic "
    "canvas canvases masterpiece works work landscape landscapes composition colors colours texture textures pattern "
    "patterns swirls mural murals sculpture sculptures watercolor watercolour watercolors oil oils portrait portraits "
    "comic comics cover panel tapestry collage still sunflowers lighting light brush strokes".split()
)
"""Nouns that a name stands before as its maker: "a Klimt painting"."""

CONNECTORS = frozenset(
    "and or nor with x meets vs versus mixed combined crossed merged blended plus und et og och en i y e".split()
)
"""Words that continue a list of names."""

NEGATIONS = frozenset(
    "not no without never non sans avoid avoiding minus except excluding exclude excludes unlike isn isnt nothing "
    "nicht kein keine ohne sin senza pas bez ne nie niet zonder ikke inte nao rather instead remove dont wasn "
    "wasnt".split()
)
"""Words that take back the name behind them."""

NEGATION_REACH = frozenset(
    "in the a an any of style styles by like painted drawn made rendered done created art artwork work works painting "
    "paintings influence influences inspired inspiration manner looking resembling resemblance resemble anything "
    "something similar to from as it be being too very trace traces hint hints reminiscent at all even remotely way "
    "evoking than im stil von dans le de du estilo del el al la en no nello stile di alla w stylu v stile not use "
    "using imitating imitation school".split()
)
"""Words that may stand between a negation and the name it takes back."""

NEGATION_UNDONE = frozenset("only just merely simply but".split())
"""Behind a negation these make it none: "not only"."""

DEPICTIONS = frozenset(
    "portrait portraits photo photos photograph photographs picture pictures image images painting drawing sketch "
    "illustration statue statues bust busts sculpture figure figurine closeup up shot headshot render rendering "
    "caricature cartoon depiction selfie silhouette face mural poster engraving etching watercolor watercolour "
    "cosplay ghost version mugshot hologram doll plush tattoo stamp banknote likeness close view scene story biopic "
    "biography documentary retrato portrat ritratto foto bild statua estatua portret pintura cuadro quadro dibujo "
    "disegno photographie tableau dessin gemalde zeichnung head skull body robot zombie avatar character lego mask "
    "embroidery emoji icon sticker logo".split()
)
"""Nouns whose "of" names the person in the picture."""

DEPICTED_LEFT = _phrases("""
depicting, featuring, starring, showing, portraying, portrays, depicts, shows, named, called, dressed as, as
played by, portrayed by, looks like, look like, looking like, resembling, resembles, cosplaying, meeting, hugging
kissing, facing, about, interview with, walking with, talking to, talking with, standing with, sitting with, next to
beside, near, behind, with, photographed with, young, old, elderly, little, teenage, real life, smiling, sad, angry
happy, zombie, robot, president, king, queen, saint, actor, actress, singer
""")
"""Phrases right before the name of a person who is in the picture."""

STYLE_WITH = frozenset(
    "mixed combined crossed merged blended crossover mashed fused mix blend cross mashup collaboration".split()
)
"""Words before "with" that mix styles."""

ACTIONS = frozenset(
    "is was as wearing holding sitting standing walking riding eating drinking playing fighting smiling looking "
    "posing dressed laughing crying sleeping dancing running driving flying reading writing working cooking surfing "
    "swimming skateboarding staring smoking singing talking painting taking using having making portrayed depicted "
    "himself herself selfie cosplay costume doll figurine".split()
)
"""Words behind the name of a person who is in the picture."""

PLACE_PREPOSITIONS = frozenset("in on at inside under near behind beside".split())

WHERE = frozenset(
    "church lake river sea wood woods water window fire road bridge hill mountain brook pond stream field forest bank "
    "banks stone gate wall garden house night day hand moon sun".split()
)
"""Common words that "by" puts a place, a time or a means to: "a cottage by church and brook"."""

NOT_ACTIONS = frozenset(
    "painting lighting drawing shading etching engraving rendering coloring colouring inspired-ing string king ring "
    "spring wing thing morning evening ceiling building outstanding interesting amazing stunning breathtaking "
    "trending charming striking flowing glowing swirling sweeping floating".split()
)
"""Words in -ing that are no action of the person named before them."""

INSTITUTIONS = frozenset(
    "museum museums prize prizes award awards foundation institute institution airport university college academy "
    "exhibition exhibit retrospective auction biography biopic movie documentary museo musee dishwasher fridge "
    "refrigerator drill washer oven appliance appliances tools crater cigarettes".split()
)
"""Nouns behind a name that make it the name of a place or thing."""

BELONGINGS = frozenset(
    "street square avenue boulevard road station hotel cafe restaurant bar pub school house home houses garden "
    "gardens park bridge city town village ship boat county theater theatre center centre library hall hospital tower "
    "building island gallery pond studio grave tomb birthplace family wife husband son daughter mother father sister "
    "brother ear eyes eyebrows face beard hat hair mustache moustache bedroom kitchen dog cat monkey parrot muse "
    "friend model fan teacher student collector district room rooms beach cottage villa castle palace".split()
)
"""Nouns that are a place or thing, or somebody's own, behind "Monet's" or as part of a name ("Van Gogh Cafe")."""

LIGHTING_TERMS = frozenset({"rembrandt"})
"""Names whose "lighting" is a term of photography."""

THINGS_LEFT = frozenset(
    "rue via calle plaza piazza platz museum musee museo museu casa hotel street avenue citroen place hometown "
    "birthplace grave house home garden studio tomb wife mother father ninja".split()
)
"""Words right before a name that make it the name of a place or thing."""

BETWEEN_CUE_AND_NAME = frozenset(
    "the a an artist artists painter painters illustrator photographer great famous legendary iconic master late "
    "renowned dutch french italian spanish austrian japanese german russian american british norwegian mexican polish "
    "impressionist surrealist expressionist old young named called both either maestro sir mr ms mrs peintre maler "
    "kunstler artista pintor pittore le la el il der die den likes early works work of paintings painting s".split()
)
"""Words that may stand between a cue and the name."""

BETWEEN_DEPICTION_AND_NAME = BETWEEN_CUE_AND_NAME | frozenset(
    "smiling happy sad angry cute beautiful handsome elderly teenage baby little child cyborg robot zombie tiny giant "
    "modern fat muscular bald actor actress singer king queen president saint".split()
)

OF = frozenset("of de del von di da do du van av af".split())

ARTICLES = frozenset("a an the un une ein eine una some another".split())

DEFINITE = frozenset("the le la el lo der die das dem il same".split())

OPENINGS = frozenset("in im dans into en no ao nello with using".split())
"""Words that open a cue: "in the style of"."""

GIVEN_NAMES = frozenset(
    "aaron adam adrian agnes akira alan albert alberto alejandro alex alexander alexandra alfred alice alicia alison "
    "allan allen alphonse amanda amber amelia amy ana anders andre andrea andreas andrew andy angela anita ann anna "
    "anne annie anthony anton antonio arnold arthur ashley astrid august austin barbara barry beatrice ben benjamin "
    "bernard bertha beth betty bill billy bob boris brad bradley brandon brenda brian bridget bruce bruno bryan "
    "camille carl carla carlos carmen carol caroline catherine cecilia charles charlie charlotte chloe chris "
    "christian christina christine christopher claire clara clark claude claudia colin connor craig cristina cynthia "
    "daisy damien dan daniel daniela danny dave david dean deborah dennis derek diana diane diego dmitri dmitry "
    "dominic don donald donna dora doris dorothy douglas duncan dylan earl ed eddie edgar edith edmund eduardo edvard "
    "edward edwin egon eleanor elena eli elijah elizabeth ella ellen elliot elsa emil emily emma enrique eric erica "
    "erik ernest ernst esther ethan eugene eva evan eve evelyn felix fernando fiona florence frances francesca "
    "francesco francis francisco frank franz fred frederic frederick frida friedrich gabriel gabriela gareth gary "
    "gavin george georges georgia gerald gerhard gilbert giovanni giuseppe glenn gloria gordon grace graham grant greg "
    "gregory greta guillermo gustav gustave guy hannah hans harold harriet harry harvey hayao heather hector helen "
    "helena henri henrik henry herbert herman hermann hilda hiroshi holly howard hubert hugh hugo ian igor ingrid "
    "irene iris isaac isabel isabella ivan jack jackson jacob jacques jake james jamie jan jane janet jason jay jean "
    "jeff jeffrey jennifer jenny jeremy jerome jerry jesse jessica jim jimmy joan joanna joe joel johan johann "
    "johannes john johnny jon jonas jonathan jordan jorge jose joseph josephine josh joshua juan judith judy julia "
    "julian julie juliet june justin karen karl kate katherine kathleen katie kay keith kelly ken kenneth kevin kim "
    "klaus kurt kyle lara larry laura lauren laurence lawrence leah leo leon leonard leonardo leroy leslie lewis liam "
    "lily linda lisa liz lloyd logan lois lorenzo louis louise luca lucas lucia lucian lucy luigi luis luke lydia "
    "lynn mabel madeleine maggie marc marcel marco marcus margaret maria marianne marie mario marion mark marta "
    "martha martin marvin mary matt matteo matthew maud maurice max maxwell may megan melissa michael michel michelle "
    "miguel mike mikhail molly monica morgan nadia nancy naomi natalie natasha nathan neil nicholas nick nicola "
    "nicolas nicole nigel nikolai nina noah nora norman olga oliver olivia oscar oskar otto owen pablo pamela "
    "patricia patrick paul paula pauline pedro peggy penelope percy pete peter phil philip philippe phillip pierre "
    "rachel ralph ramon randy raphael raul ray raymond rebecca reginald rene rex ricardo richard rick rita rob robert "
    "roberto robin rod roger roland roman ron ronald rosa rose rosemary ross roy rudolf rupert russell ruth ryan "
    "sally salvador sam samantha samuel sandra sara sarah scott sean sebastian sergei sergio seth shane shannon "
    "sharon shaun sheila shirley sidney simon sofia sonia sophia sophie spencer stan stanley stefan stella stephanie "
    "stephen steve steven stuart sue susan suzanne sven sylvia takashi tamara tanya ted teresa terence terry theo "
    "theodore theresa thomas tim timothy tina toby todd tom tommy tony tracy trevor ursula valentina valerie vanessa "
    "vera vernon veronica victor victoria vincent viola violet virginia vivian vladimir wade walt walter wanda warren "
    "wayne wendy werner wilhelm will william willie wolfgang xavier yoko yuri yvonne zach zoe".split()
)
"""Common given names: before a surname that is not theirs they name another person."""
