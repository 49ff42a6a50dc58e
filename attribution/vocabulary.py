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
    "van von vom zu zum de der den des del della dello di da do dos du la le les los el al bin ibn ter ten af "
    "av y e st saint mac".split()
)
"""Words that belong to the surname behind them."""

NAME_ENDINGS = frozenset("jr sr junior senior ii iii iv elder younger".split())
"""Words behind a surname that are no part of it."""

STYLE_LEFT = _phrases("""
by, art by, style of, styles of, style, styled after, styled like, stylings of, manner of, fashion of
spirit of, way of, vein of, tradition of, school of, works of, work of, art of, artwork of, artworks of
paintings of, canvases of, technique of, techniques of, palette of, colors of, colours of, brushwork of
brushstrokes of, aesthetic of, aesthetics of, look of, mood of, vibe of, vibes of, hand of, influence of
influences of, imitation of, echoes of, inspired by, inspired from, inspiration from, influenced by
influence from, reminiscent of, evocative of, mix of, mixture of, blend of, mashup of, fusion of
hybrid of, combination of, collaboration of, homage to, hommage to, tribute to, ode to, nod to
similar to, evoking, channeling, channelling, emulating, imitating, mimicking, a la, ala, painted like
drawn like, rendered like, like, as if by, as painted by, as drawn by, as if painted by, after, artist
artists, painter, photographer, illustrator, artstyle, art style, illustrations of, language of
vision of, world of, worlds of, through the eyes of, through the eye of, through the lens of, lens of
genius of, atmosphere of, feel of, feeling of, essence of, soul of, flavor of, flavour of, touch of
art style of, genre of, geometry of, distortions of, universe of, dreamscapes of, compositions of, pen of
brush of, chiaroscuro of, handwriting of, ethos of, energy of, sensibility of, sensibilities of, tones of
hues of, linework of, line work of, shading of, lighting of, drama of, oeuvre of, love letter to
salute to, pastiche of, courtesy of, signed, signed by, credited to, attributed to, copying, copied from
aping, quoting, referencing, reference, references, in dialogue with, think, la maniere de, facture de
genre de, esprit de, gout de, tableaux de, oeuvres de, oeuvre de, hommage an, inspiriert von
inspiriert durch, beeinflusst von, im geiste von, im sinne von, in der art von, in der manier von
manier von, technik von, werk von, werke von, kunst von, malerei von, handschrift von, gezeichnet von
illustriert von, entworfen von, a maneira de, estetica de, tecnica de, arte de, obra de, obras de
dibujado por, ilustrado por, hecho por, influenciado por, homenaje a, homenagem a, omaggio a
disegnato da, opera di, opere di, estetica di, arte di, tecnica di, influenzato da, geinspireerd door
getekend door, werk van, kunst van, in de geest van, pedzla, autorstwa, inspirowany, namalowany przez
obraz, malovany, inspirovano, malet af, inspireret af, tegnet af, maalannut, maalaama, tyyliin, stilinde
ispirata a, inspirada en, inspirada por, peinte par, dessine par, inspiree de, inspiree par, illustre par
v dukhe, v manere, rabota, raboty, kisti, kartina, kartiny, risunok, avtora, po motivam, styli, u styli
im stil von, stil von, stil des, stile von, nach art von, nach, gemalt von, art von, von, style de
maniere de, facon de, peint par, inspire de, inspire par, par, d apres, dans le style, estilo de
estilo del, manera de, pintado por, inspirado en, inspirado por, por, no estilo de, ao estilo de
a moda de, stile di, maniera di, dipinto da, ispirato a, alla, stijl van, trant van, geschilderd door
door, stil med, stil som, stilen till, stil av, stilen av, inspirerad av, malad av, stil af, stylu
w stylu, ve stylu, styl, tyylilla, v stile, stile, u stili, avtor, khudozhnika, stilul lui, tarzinda
""")
"""Phrases that end right before the name of an artist whose style is asked for."""

STRONG_BY = frozenset(
    "art artwork painting paintings drawing illustration illustrations photo photograph photography work "
    "works piece masterpiece sketch print portrait landscape concept design render sculpture comic cover "
    "poster fresco mural watercolor watercolour oil canvas engraving etching lithograph painted drawn "
    "illustrated designed created made inspired influenced rendered photographed directed sculpted engraved "
    "style styled tattoo animation film manga anime sketched composed imagined interpreted reimagined shot "
    "and".split()
)
"""Words before "by" behind which even a common word is a name."""

CUE_PARTICIPLES = frozenset(
    "painted drawn illustrated designed created made inspired influenced rendered photographed directed "
    "sculpted engraved sketched styled imagined interpreted reimagined depicted".split()
)
"""Participles that fall with the "by" behind them."""

MAKES = frozenset(
    "paint painted draw drew drawn sketch sketched imagine imagined see saw seen render rendered depict "
    "depicted dream dreamed dreamt envision envisioned sculpt sculpted design designed compose composed "
    "photograph photographed shoot shot capture captured illustrate illustrated make made do did done create "
    "created conceive conceived".split()
)
"""What an artist does to a picture: "as Monet might have painted it", "a view Hopper painted"."""

MIGHT = frozenset("might would could may must have has had d wouldve mightve couldve".split())
"""Words between the artist and what she might have done."""

STYLE_RIGHT = frozenset(
    "style styled styles stylized stylised stylization esque ish ian inspired influenced aesthetic aesthetics "
    "vibe vibes artstyle like core stil stijl estilo stile stylu manner technique brushwork brushstrokes "
    "palette tarzi tarzinda styl ized ification ism era mode 風 风 風格 风格 スタイル 스타일".split()
)
"""Words behind a name that make it a mention of style, joined by a hyphen or a space."""

HYPHEN_ONLY = frozenset("like core ian ish esque ized ification ism era mode".split())
"""Those of STYLE_RIGHT that say so only when joined to the name."""

FUSED_SUFFIXES = (
    "esque ish ian like style styled core inspired esk esco esca iano iana ien ienne ism ismo ismus ized ising s "
    "의 풍 풍의"
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
    "in": ("",),
    "nin": ("",),
    "nun": ("",),
}
"""Endings of cases, and what stands in their place in the name itself."""

COLLECTIVES = frozenset(
    "of the collective group studios workshop team crew brothers sisters company associates gallery museum "
    "academy school house".split()
)
"""Words of a name that is no person's: its last word is no surname."""

ART_NOUNS = frozenset(
    "painting paintings artwork artworks art drawing drawings sketch sketches print prints woodblock fresco "
    "illustration illustrations poster posters lithograph lithographs etching etchings engraving engravings "
    "mosaic canvas canvases masterpiece works work landscape landscapes composition colors colours texture "
    "textures pattern patterns swirls mural murals sculpture sculptures watercolor watercolour watercolors "
    "oil oils portrait portraits comic comics cover panel nocturne nocturnes seascape seascapes tapestry "
    "collage still sunflowers lighting light brush strokes".split()
)
"""Nouns that a name stands before as its maker: "a Klimt painting"."""

CONNECTORS = frozenset(
    "and or nor with x meets vs versus mixed combined crossed merged blended plus und et og och en i y e".split()
)
"""Words that continue a list of names."""

NEGATIONS = _phrases("""
not, no, without, never, non, sans, avoid, avoiding, avoids, minus, except, excluding, exclude, excludes
unlike, isn, isnt, aint, arent, wasn, wasnt, dont, doesnt, shouldnt, mustnt, cant, cannot, nothing
neither, nor, none, nobody, rather than, instead, instead of, remove, removing, omit, omitting, skip
skipping, ban, banned, forget, forbid, lacking, lacks, anti, nowhere near, anything but, everything but
all but, anyone but, anybody but, everyone but, other than, less like, less of, less, far from, away from
free of, free from, devoid of, opposite of, drop the, ditch, hold the, nicht, kein, keine, keinen, keiner
keinem, keineswegs, ohne, weder, noch, niemals, bloss nicht, statt, anstatt, pas, jamais, ni, evite
eviter, exclure, plutot que, au lieu de, sauf, hormis, sin, nada de, evita, evitar, nunca, jamas, excepto
menos, en vez de, senza, niente, nulla di, mai, ne, invece di, sem, nao, nem, exceto, niet, geen, zonder
nooit, nie, bez, zadny, zadneho, oprocz, inte, utan, ingen, ikke, uden, aldrig, ilman, fara, ei tyyliin
krome, nikakogo, nikakikh, 不, 没, 無, 无, 非, 別, 别, 勿
""")
"""Phrases that take back the name behind them."""

NEGATION_REACH = frozenset(
    "in the a an any of style styles by like painted drawn made rendered done created art artwork work works "
    "painting paintings influence influences inspired inspiration manner looking resembling resembles "
    "resemblance resemble anything something similar to from as it be being too very trace traces hint hints "
    "reminiscent at all even remotely way evoking than im stil von dans le de du estilo del el al la en no "
    "nello stile di alla w stylu v use using imitating imitation imitate school but other else away less far "
    "free devoid opposite that this kind sort look feel vibe vibes aesthetic touch fan artist artists name "
    "named names reference references mention please bitte wie der die das den dem einem eines jede jeden "
    "irgendwie nach comme une un facon maniere como nada ao um uma come uno una als zoals een stijl van jako "
    "jak ve kak som i stilen sa include including want wants need copy copying mimic mimicking emulate "
    "emulating referencing signed either both einfluss einflusse influencia influencias influenza influsso "
    "invloed wplywu vlivu vliianiia another more yet quite exactly overly typical usual generic my your his "
    "her 要 用 是 像 模 仿 使".split()
)
"""Words that may stand between a negation and the name it takes back."""

NEGATION_UNDONE = _phrases("""
not only, not just, not merely, not simply, not but, not unlike, not without, not to forget
not forgetting, not to mention, not so much, not far from, not a million, why not, no one but, nobody but
nothing but, none but, none other than, no other than, nothing less than, nothing short of, no less than
no doubt, no end of, no stranger to, never enough, cannot go wrong, cant go wrong, cannot get enough
cant get enough, never not, nothing says, nicht nur, nicht zuletzt, nicht ohne, kein anderer als
niemand anderes als, pas seulement, non seulement, rien que, no solo, no solamente, nada menos que
non solo, nao so, nao apenas, niet alleen, nie tylko, inte bara, ikke bare, no estilo, no less, no matter
not quite not
""")
"""Phrases that begin like a negation and are none: "not only"."""

NEGATED_RIGHT = _phrases("""
not wanted, not allowed, not welcome, not included, not needed, excluded, forbidden, prohibited, banned
removed, unwanted, is not wanted, is excluded, is forbidden, is banned, should be avoided
must be avoided, free, less, nicht erwunscht, verboten, interdit, prohibido, なし, 抜き, では な く, じゃ な く
""")
"""Phrases right behind a name, or behind its style, that take it back."""

DEPICTIONS = frozenset(
    "portrait portraits photo photos photograph photographs picture pictures image images painting drawing "
    "sketch illustration statue statues bust busts sculpture figure figurine closeup up shot headshot render "
    "rendering caricature cartoon depiction selfie silhouette face mural poster engraving etching watercolor "
    "watercolour cosplay ghost version mugshot hologram doll plush tattoo stamp banknote likeness close view "
    "scene story biopic biography documentary retrato portrat ritratto foto bild statua estatua portret "
    "photographie head skull body robot zombie avatar character lego mask embroidery emoji icon sticker logo".split()
)
"""Nouns whose "of" names the person in the picture."""

PERSONAL = frozenset(
    "eyes eye face hair beard hands hand ear nose lips mouth smile profile likeness ghost spirit skeleton "
    "life death story tale legend history biography biopic house home garden studio grave tomb birthplace "
    "childhood youth wife husband lover mother father sister brother son daughter family friend friends fan "
    "fans dog cat museum city town village street square statue monument bust museo musee book film "
    "documentary cover photo crowd army row pair group team clones version versions name days time age era "
    "company presence visit arrival birthday wedding funeral trial arrest return adventures dressed costume "
    "mask disguise shirt picture pictures top front side middle lap shoulder arms shadow reflection waxwork "
    "clone twin hologram meme action toy puppet gnome pumpkin cake balloon effigy caganer bobblehead cutout "
    "pinata scarecrow snowman marionette robot".split()
)
"""Nouns whose "of" names a person, also behind "the"."""

DEPICTED_LEFT = _phrases("""
lego, plush, chibi, funko, claymation, cartoon, photorealistic, animatronic, depicting, featuring
starring, showing, portraying, portrays, depicts, shows, named, called, dressed as, as, playing
impersonating, embodying, played by, portrayed by, looks like, look like, looking like, resembling
resembles, cosplaying, meeting, hugging, kissing, facing, about, interview with, walking with, talking to
talking with, standing with, sitting with, next to, beside, near, behind, with, photographed with, young
old, elderly, little, teenage, real life, smiling, sad, angry, happy, zombie, robot, president, king
queen, saint, actor, actress, singer
""")
"""Phrases right before the name of a person who is in the picture."""

STYLE_WITH = frozenset(
    "mixed combined crossed merged blended crossover mashed fused mix blend cross mashup collaboration".split()
)
"""Words before "with" that mix styles."""

OWN = frozenset(
    "his her their sein seine seinem seinen seiner ihr ihre ihrem ihren ihrer son sa ses leur su sus suo sua "
    "suoi zijn haar swoim swoja swojej sitt sin sina hans hendes svoem svoei".split()
)
"""Whose: what a name does in "his garden" is done by a person."""

COMPOUND_ACTIONS = frozenset(
    "arm thumb mud ice rock rope horse horseback scuba sky bull mountain bungee break tap roller figure deep "
    "wind kite wake speed power cliff base snow water weight window grocery christmas stage bird people day "
    "jet bike motorcycle bicycle skate surf train plane whale salsa belly pole line ballroom hang para fly "
    "ghost house dish tree sword fire knife hand finger".split()
)
"""First words of a compound for what somebody does: "arm wrestling"."""

MADE_LIKE = frozenset(
    "painted drawn photographed depicted imagined sculpted rendered illustrated portrayed".split()
)
"""Behind a name and before "by" or "as": the person is in the picture."""

ADORNED = frozenset(
    "color colors colour colours palette twist influence influences element elements touch touches texture "
    "textures line lines style styles tone tones hues vibe vibes mood flair feel accents detail details "
    "brushwork brushstrokes strokes lighting light flavor flavour aesthetic aesthetics technique more extra "
    "added modern gold less hints hint dash bit mixed mix artgerm neon pastel vibrant muted vivid bold bright "
    "dark soft swirls dots patterns".split()
)
"""What follows "with" where a style is meant: "Klimt with neon colours"."""

TITLES = frozenset(
    "mr mrs miss ms mister madam dr doctor prof professor captain lady lord king queen prince princess aunt "
    "uncle president senator judge officer agent detective inspector coach nurse general colonel major "
    "sergeant sheriff reverend father sister brother herr frau monsieur madame mademoiselle senor senora "
    "signor signora don dona chef".split()
)
"""Titles before a surname: somebody of that name, unless a style is asked for."""

ACTIONS = frozenset(
    "is was as wearing holding sitting standing walking riding eating drinking playing fighting smiling "
    "looking posing dressed laughing crying sleeping dancing running driving flying reading writing working "
    "cooking surfing swimming skateboarding staring smoking singing talking painting taking using having "
    "making portrayed depicted himself herself selfie cosplay costume doll figurine sits stands walks rides "
    "eats drinks plays fights smiles looks poses wears holds laughs cries sleeps dances runs drives flies "
    "reads works cooks stares smokes sings talks takes uses visits portrayal lookalike impersonator pensive "
    "asleep seated bobblehead plushie caricature mugshot biopic cosplayer hugging kissing meeting shaking "
    "waving pointing jumping hiking climbing arguing praying thinking dreaming watching listening repairing "
    "fixing building gardening shopping typing texting coding debugging presenting teaching giving getting "
    "trying selling buying feeding petting arriving leaving waiting".split()
)
"""Words behind the name of a person who is in the picture."""

PLACE_PREPOSITIONS = frozenset("in on at inside under near behind beside".split())

WHERE = frozenset(
    "church lake river sea wood woods water window fire road bridge hill mountain brook pond stream field "
    "forest bank banks stone gate wall garden house night day hand moon sun".split()
)
"""Common words that "by" puts a place, a time or a means to: "a cottage by church and brook"."""

NOT_ACTIONS = frozenset(
    "painting lighting drawing shading etching engraving rendering coloring colouring inspired-ing string "
    "king ring spring wing thing morning evening ceiling building outstanding interesting amazing stunning "
    "breathtaking trending charming striking flowing glowing swirling sweeping floating".split()
)
"""Words in -ing that are no action of the person named before them."""

INSTITUTIONS = frozenset(
    "museum museums prize prizes award awards foundation institute institution institutions airport "
    "university college academy exhibition exhibit exhibitions expo retrospective auction biography biopic "
    "museo musee scholarship ticket tickets giftshop metro subway railway terminal ferry dishwasher "
    "dishwashers fridge refrigerator drill drills washer tools oven appliance appliances toolbox saw grinder "
    "sander screwdriver battery charger wipers injector factory headquarters warehouse sedan suv coupe "
    "minivan motor dealership cigarettes cigars tobacco vodka whisky whiskey gin beer cognac liqueur "
    "chocolates toothpaste soap shampoo perfume cologne beans biscuits virus syndrome disease theorem "
    "hypothesis crater asteroid resort resorts gondola slopes typeface font software hardness automation "
    "aviation rexroth gmbh inc ltd llc corp corporation turtle turtles ninja hairdryer lawnmower robotics "
    "semiconductors tires tyres".split()
)
"""Nouns behind a name that make it the name of a place, a product or a thing."""

BELONGINGS = frozenset(
    "street square avenue boulevard road lane station hotel cafe restaurant bar pub school house home houses "
    "garden gardens park bridge city town village ship boat county theater theatre center centre library hall "
    "hospital tower building island gallery pond studio grave tomb birthplace family wife husband son "
    "daughter mother father sister brother ear eyes eyebrows face beard hat hair mustache moustache bedroom "
    "kitchen dog cat monkey parrot muse friend model fan teacher student collector district room rooms beach "
    "cottage villa castle palace farm market church lake river hill wall gate monument statue memorial lover "
    "mistress nephew niece grandson landlord childhood desk chair bed easel brushes spectacles glasses pipe "
    "coat shoes diary letters signature handwriting hands funeral wedding birthday ghost skeleton skull "
    "workshop apartment flat attic window door windmill cemetery bistro bakery pharmacy clinic bank tavern "
    "inn field valley canyon mountain mount peak glacier falls creek bay cape reef volcano car truck pier "
    "tram bus trail walk tour store shop outlet engine company bros brothers award band siblings neighbor "
    "neighbour boss assistant colleague rival clan dynasty heirs chapel cathedral temple stadium arena "
    "society trust fellowship estate archive archives documentary machine".split()
)
"""Nouns that are a place or thing, or somebody's own, behind "Monet's" or as part of a name ("Van Gogh Cafe")."""

SHOWN_IN_WORKS = frozenset(
    "bridge tower church lake river ship boat street city market field hill beach window gate island castle "
    "palace windmill bedroom chair skull valley canyon mountain peak falls creek bay cape reef volcano town "
    "village".split()
)
"""Those of `BELONGINGS` that an artist's work shows rather than that she owned: no thing behind "Monet's"."""

BETWEEN_PEOPLE = frozenset(
    "conversation meeting fight battle duel debate argument handshake race match dialogue friendship kiss hug "
    "encounter rivalry wedding romance showdown".split()
)
"""What is "between" people."""

PREFIXES = frozenset(
    "neo post proto pre pseudo ultra semi quasi faux mock retro cyber super hyper meta non anti".split()
)
"""What is joined to a name without being one."""

ADDRESSES = frozenset("street square avenue boulevard road lane station hotel platz plaza quay alley".split())
"""Nouns that a name stands before in an address: "Rubens street in Antwerp"."""

OCCUPATIONS = frozenset(
    "cat kitten dog puppy parrot horse hamster rabbit goldfish pig goat bear robot philosopher scientist "
    "physicist chemist biologist mathematician astronomer actor actress singer rapper musician composer "
    "pianist guitarist drummer footballer player athlete boxer wrestler swimmer runner cyclist politician "
    "president senator general admiral explorer poet writer novelist author playwright journalist comedian "
    "dancer choreographer lawyer doctor surgeon nurse pilot astronaut chef baker barber banker businessman "
    "entrepreneur wizard knight saint apostle prophet evangelist archangel angel king queen prince pope "
    "emperor pharaoh plumber butcher farmer sailor soldier detective sheriff quarterback goalkeeper striker "
    "golfer racer driver".split()
)
"""Callings of other people: "Francis Bacon the philosopher"."""

NAMESAKES = (
    (
        frozenset("turtle turtles tmnt splinter".split()),
        frozenset("raphael leonardo donatello michelangelo".split()),
    ),
    (frozenset("simpson simpsons springfield odyssey iliad bart marge".split()), frozenset({"homer"})),
    (frozenset("goliath bathsheba psalm psalms".split()), frozenset({"david"})),
    (frozenset("archangel archangels seraphim".split()), frozenset("raphael michael gabriel".split())),
)
"""Words of a prompt that say whom else single names mean."""

SUBJECTS = frozenset(
    "madonna venus adam eve david moses judith susanna danae diana apollo bacchus mary jesus christ christmas "
    "sistine vatican jupiter juno cupid psyche medusa europa flora ariadne salome magdalene sebastian jerome "
    "george bible pieta night holofernes samson saul isaac abraham mona lisa gioconda salvator baroque "
    "renaissance".split()
)
"""Whom pictures show: behind a single name these are no surname."""

MOVED = frozenset(
    "dancing melting floating flying crying screaming burning sleeping walking standing running falling "
    "dripping exploding rotting weeping laughing smiling sitting swimming rising setting howling galloping "
    "jumping crumbling decaying drifting sinking dying living rolling leaning spinning waving kneeling "
    "bathing reclining grinning staring barking leaping hanging marching prancing blooming wilting shouting "
    "whirling bleeding praying".split()
)
"""Words in -ing that need no object: before a noun they describe it, "Dali melting clocks"."""

TERMS_OF_TRADE = {
    "rembrandt": frozenset("lighting light lit triangle patch setup tulip tulips".split()),
    "michelangelo": frozenset({"virus"}),
    "turner": frozenset("prize syndrome".split()),
    "picasso": frozenset("car minivan".split()),
    "davinci": frozenset("code robot surgical resolve".split()),
    "goya": frozenset("awards beans foods food".split()),
    "titian": frozenset("hair haired red redhead curls locks".split()),
    "ingres": frozenset("paper".split()),
    "vandyke": frozenset("brown beard print".split()),
    "vandyck": frozenset("brown beard".split()),
    "veronese": frozenset("green".split()),
}
"""Terms of a trade that contain a name and ask for nobody's style, "Rembrandt lighting": they are content."""

EPITHETS = frozenset(
    "elder younger jr junior sr senior ii iii iv jungere altere jeune aine vecchio giovane".split()
)
"""Words behind a name that tell one of a family from another."""
YOUNGER = frozenset("younger jr junior ii iii iv jungere jeune giovane".split())

ABROAD = {
    "German": (
        "und der die das ein eine einen einem mit auf im am um den dem von ist nicht fur bei uber unter aus zum zur",
        "hals klee marc macke ernst klein winter stein koch gross schwarz weiss rot roth zorn kunz lang wolf fuchs "
        "vogel bach berg baum blume wald feld sommer engel kaiser konig jager muller fischer schneider schuster "
        "richter frank frisch grau braun blau busch strauss storch grun baselitz horn",
    ),
    "French": (
        "et le la les un une des du de dans avec sur pour au aux est en sous papier sans",
        "dore marc leger braque courbet gris blanc noir brun roux moulin dubois fontaine lavigne rousseau lorrain "
        "champagne corot redon chardin latour bonnard petit moreau",
    ),
    "Spanish": (
        "y el la los las un una unos con en de del para por al sobre sin es muy que",
        "mucha muchas mucho miro rivera cole varo goya moran blanco rojo casas sol luna cano caro bello franco cruz "
        "flores torres campo marina ribera picasa ramos dali",
    ),
    "Italian": (
        "e il lo la gli le un una con in di del della dei nel nella sul per al che sotto",
        "bruno rosso bianco verde bello caro rivera marina monti costa leone fontana lippi bellini titian moro",
    ),
    "Portuguese": (
        "e o a os as um uma com em de do da dos das no na para por que muito",
        "mucha miro rivera marina rosa silva costa pinto carvalho branco varo",
    ),
    "Dutch": (
        "en de het een met op van in bij onder aan uit voor is niet te",
        "hals bosch klee steen blake bakker visser ruiter mees vos hooft munch koning",
    ),
    "Polish": ("i w na z ze do od po pod nad przy dla jest nie", "mucha muchy klee moran"),
    "Czech": ("a v na s z do od po pod nad pri pro je ve", "mucha muchy"),
    "Finnish": ("ja on ei ovat joka kun niin mutta talon", "monet manet varo kukka"),
    "Swedish": ("och en ett i pa med av for till under vid som ar det", "munch hals varo klint zorn"),
}
"""By language the words that tell it, and words of meaning in it that are also artists' names."""

THINGS_LEFT = frozenset(
    "citroen xsara renault ford ninja lake mount mountain fort port cape hurricane storm tropical rua ulica "
    "strasse place cafe restaurant bistro boulevard airport metro uss hms ss station biography reference rue "
    "via calle plaza piazza platz museum musee museo museu casa hotel street avenue hometown birthplace grave "
    "house home garden studio tomb wife mother father".split()
)
"""Words right before a name that make it the name of a place or thing."""

BETWEEN_CUE_AND_NAME = frozenset(
    "the a an artist artists painter painters illustrator photographer great famous legendary iconic master "
    "late renowned dutch french italian spanish austrian japanese german russian american british norwegian "
    "mexican polish impressionist surrealist expressionist old young named called both either maestro sir mr "
    "ms mrs peintre maler kunstler artista pintor pittore le la el il der die den likes early works work of "
    "paintings painting s".split()
)
"""Words that may stand between a cue and the name."""

BETWEEN_DEPICTION_AND_NAME = BETWEEN_CUE_AND_NAME | frozenset(
    "smiling happy sad angry cute beautiful handsome elderly teenage baby little child cyborg robot zombie "
    "tiny giant modern fat muscular bald actor actress singer king queen president saint".split()
)

OF = frozenset("of de del von di da do du van av af".split())

ARTICLES = frozenset("a an the un une ein eine una some another".split())

DEFINITE = frozenset("the le la el lo der die das dem il same".split())

OPENINGS = frozenset("in im dans into en no ao nello with using".split())
"""Words that open a cue: "in the style of"."""

GIVEN_NAMES = frozenset(
    "aaron adam adrian agnes akira alan albert alberto alejandro alex alexander alexandra alfred alice alicia "
    "alison allan allen alphonse amanda amber amelia amy ana anders andre andrea andreas andrew andy angela "
    "anita ann anna anne annie anthony anton antonio arnold arthur ashley astrid august austin barbara barry "
    "beatrice ben benjamin bernard bertha beth betty bill billy bob boris brad bradley brandon brenda brian "
    "bridget bruce bruno bryan camille carl carla carlos carmen carol caroline catherine cecilia charles "
    "charlie charlotte chloe chris christian christina christine christopher claire clara clark claude "
    "claudia colin connor craig cristina cynthia daisy damien dan daniel daniela danny dave david dean "
    "deborah dennis derek diana diane diego dmitri dmitry dominic don donald donna dora doris dorothy douglas "
    "duncan dylan earl ed eddie edgar edith edmund eduardo edvard edward edwin egon eleanor elena eli elijah "
    "elizabeth ella ellen elliot elsa emil emily emma enrique eric erica erik ernest ernst esther ethan "
    "eugene eva evan eve evelyn felix fernando fiona florence frances francesca francesco francis francisco "
    "frank franz fred frederic frederick frida friedrich gabriel gabriela gareth gary gavin george georges "
    "georgia gerald gerhard gilbert giovanni giuseppe glenn gloria gordon grace graham grant greg gregory "
    "greta guillermo gustav gustave guy hannah hans harold harriet harry harvey hayao heather hector helen "
    "helena henri henrik henry herbert herman hermann hilda hiroshi holly howard hubert hugh hugo ian igor "
    "ingrid irene iris isaac isabel isabella ivan jack jackson jacob jacques jake james jamie jan jane janet "
    "jason jay jean jeff jeffrey jennifer jenny jeremy jerome jerry jesse jessica jim jimmy joan joanna joe "
    "joel johan johann johannes john johnny jon jonas jonathan jordan jorge jose joseph josephine josh joshua "
    "juan judith judy julia julian julie juliet june justin karen karl kate katherine kathleen katie kay "
    "keith kelly ken kenneth kevin kim klaus kurt kyle lara larry laura lauren laurence lawrence leah leo "
    "leon leonard leonardo leroy leslie lewis liam lily linda lisa liz lloyd logan lois lorenzo louis louise "
    "luca lucas lucia lucian lucy luigi luis luke lydia lynn mabel madeleine maggie marc marcel marco marcus "
    "margaret maria marianne marie mario marion mark marta martha martin marvin mary matt matteo matthew maud "
    "maurice max maxwell may megan melissa michael michel michelle miguel mike mikhail molly monica morgan "
    "nadia nancy naomi natalie natasha nathan neil nicholas nick nicola nicolas nicole nigel nikolai nina "
    "noah nora norman olga oliver olivia oscar oskar otto owen pablo pamela patricia patrick paul paula "
    "pauline pedro peggy penelope percy pete peter phil philip philippe phillip pierre rachel ralph ramon "
    "randy raphael raul ray raymond rebecca reginald rene rex ricardo richard rick rita rob robert roberto "
    "robin rod roger roland roman ron ronald rosa rose rosemary ross roy rudolf rupert russell ruth ryan "
    "sally salvador sam samantha samuel sandra sara sarah scott sean sebastian sergei sergio seth shane "
    "shannon sharon shaun sheila shirley sidney simon sofia sonia sophia sophie spencer stan stanley stefan "
    "stella stephanie stephen steve steven stuart sue susan suzanne sven sylvia takashi tamara tanya ted "
    "teresa terence terry theo theodore theresa thomas tim timothy tina toby todd tom tommy tony tracy trevor "
    "ursula valentina valerie vanessa vera vernon veronica victor victoria vincent viola violet virginia "
    "vivian vladimir wade walt walter wanda warren wayne wendy werner wilhelm will william willie wolfgang "
    "xavier yoko yuri yvonne zach zoe".split()
)
"""Common given names: before a surname that is not theirs they name another person."""
