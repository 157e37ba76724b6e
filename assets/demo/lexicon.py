"""Hand-written vocabulary of the demo corpus: topics, required words, names, places.

Data only; make_corpus.py turns it into documents. Every line below was written for this project.
Topic rows read  name | singular nouns | plural nouns | five-syllable lines | seven-syllable lines
and belong to the mood ('machine', 'wild' or 'home') under which they stand; the mood selects the
verbs and adjectives that a line may use.
"""

TOPICS = {
    "machine": """
GPU computing|kernel,warp,fan,chip|threads,cores,lanes,tiles|ten thousand threads wake;heat leaves the dark rack|the fans sing one long low note;each lane carries one small sum
debugging|bug,trace,stack,screen|breakpoints,logs,traces,lines|one wrong sign, one night;the stack trace unwinds|the bug hides behind a name;a single step, then the truth
programming|function,loop,cursor,type|branches,loops,tests,names|the cursor blinks twice;a small loop returns|names first, then the quiet code;the tests turn green before dawn
compilers|parser,symbol,error,pass|tokens,errors,trees,flags|trees grow from plain text;one missing bracket|warnings fall like autumn leaves;the parser reads without sleep
neural networks|layer,weight,neuron,gradient|weights,layers,neurons,signals|weights learn in the dark;the loss drifts downhill|numbers lean toward a word;layer on layer of light
attention|head,query,key,token|heads,keys,queries,tokens|each head looks backward;the query finds home|an old word lights up again;keys wait in their quiet rows
transformers|block,token,layer,head|tokens,heads,layers,vectors|one token, then one;words lean on old words|the residual stream runs;eight quiet layers of thought
memory|page,cache,address,buffer|pages,bytes,buffers,banks|old bytes remember;a page turned to dust|the cache keeps what we forget;somewhere a pointer still waits
data centres|rack,server,cable,aisle|racks,servers,cables,drives|cold aisles, warm machines;blue lights never sleep|a city of humming racks;the cables braid in the floor
robots|robot,motor,sensor,arm|gears,motors,sensors,joints|the steel hand is kind;gears dream in the night|a robot waters the fern;its lamp turns to follow me
computers|keyboard,screen,disk,lamp|keys,screens,files,wires|the old screen warms up;keys under my hands|a disk spins up in the dark;somewhere a file is waiting
the internet|link,packet,server,signal|packets,links,cables,pages|light under the sea;a page slowly loads|packets cross the ocean floor;a stranger answers at night
machine learning|model,sample,curve,batch|samples,batches,models,errors|the curve bends at last;one more epoch, then|the loss falls a little more;from noise a pattern appears
electricity|spark,wire,switch,lamp|wires,sparks,lamps,coils|the wires start to hum;one switch and the dark|a spark jumps the narrow gap;copper carries the morning
satellites|dish,orbit,beacon,panel|orbits,signals,panels,dishes|a star that blinks back;it falls and falls round|the dish turns toward the sky;its shadow crosses the sea
software|window,menu,module,button|modules,buttons,windows,bugs|the build is green now;old code still running|no one knows who wrote this line;a window opens on light
numbers|sum,digit,prime,fraction|primes,digits,sums,zeros|primes stand all alone;a sum in the dust|count the stars and lose your place;the digits go on and on
mathematics|proof,circle,lemma,curve|proofs,angles,curves,circles|the proof ends in white;chalk on both my hands|a circle closes again;one small lemma holds the roof
clocks|clock,minute,hand,spring|minutes,hours,gears,hands|the clock clears its throat;small gears turn the night|the minute hand starts to fall;time leaves by the open door
time|hour,minute,moment,calendar|hours,minutes,years,moments|the hour slips away;a minute, then dusk|yesterday folds like a map;the moment was here, then not
trains|train,station,signal,platform|rails,wheels,whistles,tracks|the last train leaves late;rails shine after rain|a whistle bends round the hill;the platform empties again
rockets|rocket,engine,tower,flame|engines,flames,stages,orbits|fire climbs the cold sky;the ground lets it go|the tower stands in white smoke;a thin line drawn to the stars
telescopes|lens,mirror,dome,galaxy|stars,lenses,mirrors,domes|the dome slides open;old light in the lens|mirrors hold a galaxy;light that left before my birth
radios|radio,dial,voice,antenna|voices,stations,dials,waves|a voice through the hiss;turn the dial, slow|static like rain on the roof;far stations fade in and out
cameras|camera,shutter,lens,picture|pictures,lenses,shutters,frames|the shutter just blinked;one frame of July|the picture keeps what you wore;light caught on a paper square
printers|printer,page,tray,paper|pages,papers,trays,letters|paper jams again;warm pages of ink|the printer talks to itself;white pages land one by one
video games|level,player,castle,score|levels,coins,castles,players|press start, then wonder;one life, one more try|the castle waits past the lake;pixels fall like autumn leaves
batteries|battery,charge,cell,lamp|cells,lamps,charges,wires|one bar left of light;it charges all night|the lamp dims and then goes out;small lightning sleeps in a box
keyboards|keyboard,key,finger,letter|keys,letters,fingers,words|keys clack in the dark;the space bar is worn|fingers know where letters live;a coffee ring by the keys
bridges|bridge,arch,cable,tower|cables,arches,rivets,beams|the bridge holds its breath;steel over water|an arch and its reflection;the cables hum in the wind
ships|ship,anchor,deck,harbour|sails,ships,anchors,masts|the ship leaves no road;ropes creak in the night|an anchor rests in the mud;white sails lean into the wind
aeroplanes|wing,runway,cabin,cloud|wings,engines,clouds,windows|wheels let go of earth;the wing cuts a cloud|below, the towns are small fires;the runway shines after rain
space|planet,comet,orbit,star|planets,comets,stars,moons|no sound in that dark;a comet comes home|planets turn without a sound;between stars only more stars
quantum physics|particle,wave,atom,cloud|waves,atoms,particles,photons|here and also there;the cat is both now|look once and the wave is gone;an atom does not choose yet
chemistry|flask,flame,crystal,bond|crystals,flasks,atoms,bonds|blue flame, clear water;salt grows in the dish|a crystal finds its own shape;the flask turns slowly to gold
""",
    "wild": """
rivers|river,current,bank,stone|stones,reeds,ripples,banks|the river bends east;reeds lean with the stream|a leaf rides toward the sea;the water forgets the stone
snow|snowflake,drift,roof,field|flakes,drifts,pines,fields|snow without a sound;white roofs and white fields|the footprints end at the gate;snow settles on the old bell
the sea|wave,tide,shore,gull|waves,gulls,shells,tides|the sea breathes in, out;salt on the cold wind|the tide returns what it took;a gull writes on the grey sky
rain|raindrop,puddle,cloud,gutter|raindrops,clouds,puddles,umbrellas|rain taps on the glass;each drop a small drum|the gutter sings to itself;puddles hold the upside town
the moon|moon,cloud,pond,shadow|clouds,shadows,tides,owls|the moon in a cup;pale light on the stairs|the moon walks over the lake;even owls lower their eyes
the sun|sun,window,hill,shadow|sunbeams,shadows,hills,fields|gold on the wet grass;the sun finds the wall|warm stones keep the afternoon;the long shadows fold away
stars|star,sky,roof,lantern|stars,fields,rooftops,fireflies|stars over the field;the dipper hangs low|each one a fire far away;we lie in the grass and count
mountains|mountain,peak,ridge,trail|peaks,ridges,pines,stones|the peak keeps its cloud;snow above the pines|the trail climbs into the mist;no one has named this grey ridge
forests|forest,oak,path,fern|oaks,ferns,trunks,roots|moss over old roots;light falls through the leaves|a deer steps out of the dark;the path forgets where it goes
autumn|leaf,orchard,wind,gate|leaves,apples,geese,branches|red leaves in the yard;the geese are leaving|the last apple holds its branch;smoke from a far chimney bends
winter|frost,branch,lake,window|icicles,branches,crows,footprints|frost on the old gate;the lake has gone still|a crow walks across the snow;the kettle talks to the cold
spring|bud,blossom,robin,brook|blossoms,robins,buds,seeds|plum blossom, cold wind;the brook speaks again|a robin pulls at the thaw;green enters through every crack
summer|cricket,meadow,porch,cicada|crickets,peaches,swallows,fireflies|warm dusk on the porch;the crickets start up|peaches soften in a bowl;a screen door claps in the heat
wind|breeze,kite,grass,door|leaves,kites,flags,branches|the wind tries the door;grass bows and stands up|a kite pulls on its thin string;a hat rolls along the street
fog|fog,harbour,lamp,bell|lamps,ships,bells,streets|a bell in the fog;the hill is not there|the street lamp floats on nothing;one grey boat, then only grey
storms|storm,thunder,cloud,roof|clouds,branches,torrents,drums|thunder far away;the sky splits in two|a white crack across the dark;after it, the frogs again
thunder|thunder,valley,roof,cloud|drums,clouds,hills,windows|the hills answer back;a drum in the clouds|the dog hides under the bed;count slowly, then hear it break
clouds|cloud,sky,hill,shadow|clouds,shadows,hills,sheep|a cloud shaped like sleep;shadows cross the wheat|white ships with nowhere to go;the sky tries on a new face
deserts|dune,cactus,mirage,well|dunes,lizards,bones,stars|sand writes, then forgets;the dune walks at night|a lizard drinks its own shade;far away, a lake of heat
islands|island,palm,reef,lagoon|palms,shells,reefs,boats|one palm, one white beach;the ferry turns back|the island wears the sunset;shells remember how to sing
lakes|lake,pier,loon,canoe|ripples,loons,reeds,canoes|the lake holds the sky;a loon calls, then none|one oar breaks the yellow moon;rings widen where a fish rose
waterfalls|waterfall,cliff,pool,mist|ferns,cliffs,stones,mists|white water, black stone;the cliff never tires|mist climbs back to where it fell;behind the falls, a green room
oceans|ocean,whale,wave,depth|whales,waves,currents,depths|the deep keeps its dark;far out, a whale breathes|somewhere below, slow lights drift;the ocean turns in its bed
whales|whale,song,tail,ocean|whales,songs,waves,calves|a whale turns its eye;one breath, then the deep|the song goes under the ice;a tail waves and shuts the sea
birds|sparrow,nest,feather,wing|sparrows,wings,nests,feathers|one feather, no bird;wings over the barn|the nest keeps its cup of snow;they leave and the branch still moves
owls|owl,barn,branch,moon|owls,mice,feathers,shadows|the owl turns its head;two moons in the barn|no sound from the falling wing;it asks the same thing again
crows|crow,fence,field,wire|crows,wires,fences,fields|crows argue at dusk;one crow on the wire|black letters across the snow;they know which of us is kind
cats|cat,window,whisker,cushion|paws,whiskers,cushions,shadows|the cat owns the sun;a paw in the milk|she sleeps on the open book;the cat sees what is not there
dogs|dog,leash,bone,door|paws,ears,bones,dogs|the dog hears the car;one ear up, one down|he brings me the same wet stick;asleep, all four paws still run
foxes|fox,hedge,tail,moon|foxes,hedges,tracks,hens|a fox stops to look;red tail in white grass|the hedge closes after it;tracks go out and don't come back
wolves|wolf,ridge,howl,moon|wolves,pines,howls,tracks|one howl, then many;grey coats in the snow|yellow eyes beyond the fire;the pack moves like one long thought
horses|horse,mane,field,saddle|horses,hooves,manes,fields|steam on the mare's back;hooves on the wet road|they run because the wind runs;the mare leans over the gate
bees|bee,hive,clover,blossom|bees,blossoms,hives,wings|bees enter the bell;gold dust on six legs|the hive hums one sleepy word;clover bends beneath a bee
butterflies|butterfly,petal,garden,wing|wings,petals,butterflies,gardens|wings open and close;it lands on my name|a petal lifts off and flies;the garden blinks blue, then not
spiders|spider,web,thread,corner|webs,threads,corners,dewdrops|one thread holds the dawn;the web shakes, then waits|dew hangs on the silent trap;she mends what the broom undid
frogs|frog,pond,lily,reed|frogs,ponds,lilies,reeds|the pond says one word;a splash, then the rings|green eyes level with the sky;the frogs are counting the stars
fish|fish,stream,hook,scale|fish,scales,ripples,stones|silver turns, is gone;a slow tail in shade|the carp drifts under its moon;they sleep with wide open eyes
turtles|turtle,shell,log,pond|turtles,shells,logs,eggs|the turtle is home;old shell, warm grey log|he carries rooms on his back;a hundred years, one small hill
cherry blossoms|blossom,petal,branch,bench|petals,blossoms,branches,lanterns|petals on the bench;pink snow in the spring|the branch is lighter by one;we drink under falling light
roses|rose,thorn,garden,petal|roses,thorns,petals,bees|the rose drops its coat;thorns keep the cold out|one red cup that holds the rain;the scent stays on in the room
trees|oak,root,branch,trunk|roots,branches,leaves,rings|roots hold the hill up;a ring for each year|the oak stands where it was left;wind combs the top of the birch
grass|blade,meadow,field,cricket|blades,crickets,fields,dewdrops|grass grows through the road;dew on every blade|the field bends and does not break;we lay there and left our shape
flowers|flower,stem,vase,bee|petals,stems,bees,gardens|a stem leans to light;one flower, one bee|the vase holds a little field;they open without a sound
mushrooms|mushroom,stump,ring,forest|mushrooms,stumps,rings,spores|overnight, small hats;a ring in the grass|the stump has opened its eyes;pale roofs for the rain to land
seeds|seed,soil,sprout,pocket|seeds,sprouts,pods,roots|a seed in the dark;it knows which is up|a forest inside my hand;the wind pays for its passage
fireflies|firefly,jar,dusk,meadow|fireflies,jars,sparks,meadows|a spark with no fire;the dusk learns to wink|we let them out of the jar;small green lights answer small lights
volcanoes|volcano,crater,ash,lava|craters,embers,stones,ashes|the hill clears its throat;red light under snow|ash falls soft as any snow;an island is being born
caves|cave,echo,bat,lantern|echoes,bats,crystals,shadows|the cave keeps my voice;a drip, then a drip|stone teeth grow in the long dark;my lamp finds a painted hand
glaciers|glacier,ice,valley,stone|stones,cracks,valleys,rivers|blue ice, slow as years;the old ice lets go|a river that learned to wait;the glacier writes on the stone
the aurora|ribbon,sky,curtain,pole|ribbons,curtains,colours,stars|green silk in the north;the night wears a scarf|a curtain with no window;we stand in snow and look up
the beach|beach,towel,shell,wave|shells,towels,gulls,castles|sand in every shoe;small crabs sign the shore|the castle waits for the tide;our footprints fill up with sky
harbours|harbour,rope,mast,lamp|masts,ropes,nets,boats|masts tap in the wind;nets dry on the wall|the boats nod all through the night;one lamp still out on the pier
night|night,lamp,window,street|lamps,windows,owls,shadows|night at the window;one lamp still awake|the street folds up its noises;the dark has a softer voice
dawn|dawn,rooster,hill,window|roosters,hills,roofs,birds|grey turns into rose;first bird clears its throat|the hill lets go of the night;a thin gold line on the sill
dusk|dusk,bat,field,porch|bats,swallows,fields,lamps|bats stitch up the dusk;blue fills the low field|the day puts its tools away;one by one the windows glow
silence|silence,room,snow,breath|rooms,breaths,walls,echoes|the room holds its breath;snow after the bell|what the song leaves in the air;we listen to the no sound
echoes|echo,canyon,voice,wall|echoes,canyons,voices,walls|hello, says the cliff;my own voice, older|the canyon gives back my name;it answers, but not at once
shadows|shadow,wall,lamp,noon|shadows,walls,corners,lamps|my shadow walks first;long legs on the wall|at noon it hides under me;the lamp moves and the room leans
rainbows|rainbow,arch,field,cloud|colours,arches,clouds,fields|a bridge made of rain;seven thin ribbons|it ends in some other field;the storm leaves its signature
ice|ice,pond,crack,skate|cracks,skates,ponds,icicles|the pond holds me up;a crack sings, then stops|thin ice with leaves locked inside;blades write circles on the lake
fire|ember,flame,log,spark|embers,flames,logs,sparks|the log sighs and falls;faces around light|sparks go up to be the stars;in the ash, one small red eye
dust|dust,shelf,sunbeam,attic|sunbeams,shelves,books,motes|dust turns in the sun;my name on the shelf|the attic breathes out slowly;everything returns as dust
""",
    "home": """
coffee|cup,kettle,spoon,steam|cups,beans,spoons,mornings|steam over the cup;first sip, then the day|the kettle begins to talk;a brown ring marks the blue page
tea|teapot,leaf,cup,kettle|leaves,cups,kettles,guests|tea leaves slowly sink;two cups, one long talk|green steam and a wooden tray;the pot is warm in my hands
bread|loaf,oven,crust,flour|loaves,crusts,ovens,crumbs|the dough breathes all night;crust cracks as it cools|flour on the baker's dark sleeve;warm bread and nobody speaks
soup|soup,spoon,bowl,ladle|bowls,spoons,carrots,onions|steam climbs from the bowl;one spoon, then quiet|the pot mutters to itself;onions and a window, wet
apples|apple,orchard,basket,branch|apples,baskets,branches,seeds|an apple lets go;red weight in the hand|five seeds asleep in a star;the ladder leans on the sky
kitchens|kitchen,kettle,table,stove|plates,spoons,pots,onions|plates dry in a row;the stove ticks and cools|she hums where the kettle hums;a lemon cut on the board
gardens|garden,spade,gate,rose|roses,seeds,spades,beans|beans climb up their strings;mud on both my knees|the gate sighs, the roses nod;a worm turns over the world
home|door,lamp,stair,window|doors,lamps,stairs,keys|one key, one warm light;shoes beside the door|the stairs know the weight of me;someone left the porch lamp on
windows|window,curtain,pane,sill|panes,curtains,faces,roofs|rain writes on the glass;a face, then the street|the curtain breathes in and out;a square of sun on the floor
doors|door,hinge,key,hall|doors,hinges,keys,halls|a door left half shut;the hinge tells on us|on the far side, someone laughs;a key turns twice in the dark
lamps|lamp,shade,moth,desk|lamps,moths,shades,desks|one lamp, one moth's wings;the desk is an isle|a yellow ring on the page;click, and the night walks right in
letters|letter,stamp,envelope,pen|letters,stamps,words,pages|blue ink, folded twice;no stamp, no reply|your hand in every dark loop;the envelope kept the sea
books|book,page,shelf,story|pages,shelves,stories,words|the page turns itself;a pressed leaf falls out|someone wept here in the past;the shelf leans from so much sea
libraries|library,shelf,ladder,lamp|shelves,books,readers,lamps|dust and quiet shoes;ladders lean on words|a stamp falls like a gavel;between the shelves, one long cough
music|song,string,drum,note|notes,songs,strings,drums|one string still trembles;the drum finds my heart|the song ends and goes on here;a note hangs in the stairwell
pianos|piano,key,pedal,hall|keys,chords,notes,pedals|one key that won't speak;small hands, heavy chords|rain and piano next door;the lid shuts on all that sound
guitars|guitar,string,chord,porch|strings,chords,songs,fingers|six strings and the dusk;the thumb finds the beat|an old tune with a new scratch;the last chord leans on the wall
violins|violin,bow,string,song|strings,bows,songs,hands|the bow draws a line;wood that learned to weep|a thin sound as bright as wire;the case shuts on velvet dark
dance|dancer,floor,shoe,song|dancers,shoes,steps,turns|a turn, then a turn;the floor knows our feet|she lands and there is no sound;two shadows make one shadow
painting|brush,canvas,colour,easel|brushes,colours,canvases,hands|blue, and then more blue;the brush rests in rain|the canvas waits like a field;a thumbprint hides in the sky
poetry|poem,line,pen,page|poems,lines,words,pens|three lines and a breath;the pen waits for frost|a word falls and the pond rings;what is left out does the work
dreams|dream,stair,pillow,door|dreams,pillows,doors,stairs|I fly, then I wake;the stairs turn to sea|in sleep the house has more rooms;the dream lets go of my hand
sleep|pillow,blanket,breath,night|pillows,blankets,breaths,dreams|the clock, then nothing;breath in, then breath out|a boat without any oars;the blanket remembers me
childhood|swing,kite,marble,yard|marbles,swings,kites,puddles|the swing still moves once;chalk stars on the path|small shoes filled up with the creek;somebody calls us for tea
old age|cane,chair,photograph,garden|stories,hands,chairs,photographs|slow steps, bright garden;a name, almost found|the chair keeps the shape of him;so many years in these hands
friendship|friend,bench,laugh,road|friends,letters,laughs,roads|we need not say much;two on the wet bench|your laugh comes before your face;the road home is twice as short
love|heart,hand,letter,name|hearts,hands,letters,names|your cup beside mine;her hand finds my hand|I say your name to the rain;the bed keeps your side all warm
loss|chair,coat,photograph,room|coats,rooms,letters,names|your coat on its hook;one chair left empty|I still set a place for two;the phone knows your number yet
hope|candle,seed,window,bird|candles,seeds,birds,lamps|one match in the wind;green through the cracked stone|the bird sings before the light;a candle in every house
courage|step,heart,cliff,lantern|steps,hearts,lanterns,doors|afraid, still she goes;one step in the dark|the smallest boat puts to sea;a voice shakes and then it holds
patience|stone,fisherman,snail,bench|stones,snails,seeds,hours|the snail climbs the hill;water wears the stone|the fisherman is a tree;wait, and the deer will come near
work|desk,hammer,apron,hour|hammers,desks,hands,hours|dust on the work bench;noon, and still the saw|the hammer knows the nail's name;five o'clock leans on the door
schools|school,bell,desk,pencil|pencils,desks,bells,children|chalk dust and a bell;names carved in the desk|a paper plane crosses maths;the yard fills up all at once
teachers|teacher,lesson,chalk,question|lessons,questions,pupils,books|she draws the moon twice;a question is kept|he waits until we see it;chalk on the sleeve like first snow
cities|city,street,tower,taxi|streets,towers,windows,taxis|lights climb the tall glass;steam from the grey street|a million windows, one moon;the last bus sighs and kneels down
markets|market,stall,basket,coin|stalls,baskets,peaches,coins|fish, plums, a loud voice;coins warm in the hand|she weighs the sun in her scales;awnings drip long after rain
streets|street,lamp,puddle,corner|lamps,corners,puddles,bikes|one light, then the next;a cat rules the street|the corner shop pulls its blind;wet stones repeat all the lamps
bicycles|bicycle,wheel,bell,hill|wheels,bells,spokes,hills|no hands, all the wind;downhill, the wheels sing|a chain ticks slowly, then stops;two wheels lean on the same wall
travel|suitcase,map,road,ticket|roads,maps,tickets,stations|one bag and a map;new roofs in the rain|the road has a sunburnt face;I learn the word for water
maps|map,coast,border,compass|maps,roads,rivers,islands|the map has a tear;blue thread of a stream|here the paper runs out, sea;my thumb covers a country
mirrors|mirror,face,hall,frame|mirrors,faces,frames,rooms|who walks toward me;a room with no air|mirrors get up when I do;dust on the face of my face
candles|candle,wick,match,flame|candles,flames,matches,saints|the wick bows its head;wax runs, then it stills|one breath and the room is gone;the flame stands up straight again
birthdays|cake,candle,ribbon,wish|candles,ribbons,wishes,friends|one more small bright flame;paper on the floor|a wish goes up with the smoke;we sing it slightly off key
festivals|lantern,drum,street,mask|lanterns,drums,masks,dancers|drums come up the hill;paper moons on strings|the mask laughs while I am still;all night the lanterns go by
fireworks|rocket,spark,roof,crowd|sparks,rockets,roofs,faces|a flower of fire;the dark claps its hands|we see each other in red;smoke drifts where the garden was
football|ball,goal,whistle,crowd|boots,goals,whistles,fans|mud, breath, a whistle;the net bulges once|the crowd stands up like one wave;a lost ball sleeps in the hedge
chess|pawn,queen,board,bishop|pawns,kings,knights,squares|a pawn steps once more;the queen leans on light|he thinks for one whole teapot;in the end the king lies down
swimming|pool,lane,breath,wave|lanes,arms,breaths,waves|blue lane, slow blue clock;one breath in my ear|the water closes my name;I float and the roof floats too
running|runner,road,shoe,breath|shoes,roads,breaths,miles|breath, shoe, breath, shoe, dawn;the hill runs at me|my shadow beats me by one;behind me, the town gets small
fishing|hook,line,float,boat|hooks,lines,boats,ripples|the float dips, then still;a line into dark|we catch mostly afternoon;two hats and a quiet lake
cooking|pan,knife,pot,apron|pans,knives,herbs,onions|garlic, then the world;the knife keeps its time|steam on the window, my name;taste it, and then taste again
sewing|needle,thread,button,sleeve|needles,threads,buttons,seams|in, out, in, the light;a thread finds its eye|she mends the elbow with stars;one button from father's coat
knitting|needle,yarn,scarf,sheep|needles,scarves,stitches,mittens|click, click, a long scarf;the wool was a hill|a sleeve grows toward winter;she drops one stitch for the moon
toys|doll,drum,marble,bear|blocks,marbles,drums,bears|one bear, one glass eye;blocks fall, then again|the tin drum rests on the stair;a train goes round the table
shoes|shoe,lace,sole,step|laces,soles,steps,boots|mud up to the lace;the left shoe is lost|these soles have kissed every street;two boots dream beside the stove
hats|hat,brim,feather,hook|hats,brims,feathers,hooks|the hat wants the wind;rain runs off the brim|the scarecrow tips to no one;grandfather's hat has no head
bells|bell,tower,rope,hour|bells,towers,ropes,hours|the bell, then its ghost;bronze over the roofs|birds fly out of every stroke;the rope goes up, I go too
lanterns|lantern,path,boat,flame|lanterns,paths,boats,flames|a lamp on the stream;the path wears small moons|someone walks with a gold ring;paper and fire and a breath
cheese|cheese,cellar,knife,mouse|wheels,cellars,knives,mice|a wheel in the dark;blue veins, white cellar|the mouse has a better plan;a knife, a pear, and the rind
chocolate|square,wrapper,cocoa,spoon|squares,wrappers,spoons,crumbs|one square, then one more;it melts like a thought|the wrapper sings in the dark;sweet night on the tongue, then none
noodles|noodle,bowl,broth,steam|noodles,bowls,chopsticks,onions|steam hides the cook's face;long threads, longer night|the bowl is a small warm moon;rain outside and slurps inside
""",
}

VERBS = {
    "machine": "hum,wait,blink,turn,wake,glow,spin,whisper,tremble,pause,sleep,listen,cool,flicker,return,remain,gather,answer,align,shimmer",
    "wild": "drift,sleep,wait,glow,turn,sing,tremble,rest,fade,wander,listen,shine,gather,return,rise,scatter,whisper,linger,breathe,remember",
    "home": "wait,sleep,glow,sing,rest,tremble,linger,listen,fade,remain,whisper,shine,gather,return,lean,settle,dream,wander,murmur,breathe",
}
ADJECTIVES = {
    "machine": "warm,quiet,small,blue,silver,patient,hidden,bright,cold,steady,restless,humming,distant,slow,silent,tiny,careful,sleepless,green,narrow",
    "wild": "cold,pale,silver,lonely,distant,quiet,golden,slow,dark,small,ancient,gentle,wild,bright,hollow,drifting,restless,silent,soft,weary",
    "home": "old,warm,small,quiet,yellow,gentle,worn,slow,soft,golden,patient,lonely,crooked,bright,sleepy,silent,faded,humble,tender,dusty",
}
TIMES = ("at dawn,at dusk,tonight,all night,once more,again,in the dark,in the rain,before dawn,at last,"
         "after rain,in the hush,until spring,past midnight,in thin light,without sound,one more time,far from home,"
         "under the stars,in the long dark,while we sleep,in the blue hour,when no one looks").split(",")

# Required words by the grammar slot that they can fill.
NOUNS = """lantern apple anchor arrow basket beacon bell bicycle blanket boat bottle branch bridge brook button
cabin candle canyon castle chimney circle cloud compass cottage cradle crystal curtain dragon drum eagle ember
engine falcon feather fence fiddle flame flute forest fountain garden gate glacier glove hammer harbour harvest
hollow horizon island jacket jewel journey kettle kingdom kite ladder lighthouse lily lion machine mirror monkey
mountain needle nest orchard owl paddle palace pebble pencil penguin piano pillow planet pocket puzzle rabbit
ribbon riddle river rocket saddle sailor shadow shell signal spoon staircase stranger sunrise swallow temple
thimble thread tiger tower tunnel turtle umbrella valley village violin wagon walnut whisper willow window winter
wizard zebra acorn almond badger balcony banjo barrel beetle biscuit blossom bonfire bucket cactus camel canvas
carpet cathedral cello cherry clover comet copper coral cricket crown dolphin donkey doorway elephant envelope
fox furnace galaxy giraffe guitar hawk hedgehog helmet heron jaguar jungle lemon leopard lobster magnet maple
marble meadow melon mitten moth mushroom notebook octopus olive otter oyster panther parrot peacock pepper pigeon
pilot pirate plum pumpkin quilt raven robot rooster scarf shepherd shovel skeleton snail spider sparrow squirrel
statue stone sundial swan teapot telescope thunder timber tomato torch trumpet tulip turnip vase wolf wheel
whistle key book clock lamp tree ship road song star moon door bird cat dog horse fish flower leaf seed wave
mountaintop snowflake raindrop rainbow thunderstorm waterfall keyboard computer processor pixel vector matrix
kernel thread tensor token layer neuron circuit battery antenna satellite""".split()
MASS = """snow dust silence music light water rain smoke gold silver salt sand honey thunder moonlight sunlight
starlight bread butter copper courage darkness fire frost glass grass hope iron ivory jade joy laughter love
memory mercy mist moss mud paper patience rust sleep sorrow steam sugar time velvet wind wine wisdom wonder wool
electricity gravity attention energy lightning fog ice amber ash""".split()
ADJ_WORDS = """ancient amber bitter bold brave bright brittle broken calm careful clever cold crimson crooked curious
dark deep distant dusty eager early easy emerald empty faint fearless fierce foolish fragile frozen gentle golden
graceful green grey happy heavy hidden hollow honest humble hungry icy invisible kind lazy little lonely lost loud
lucky merry misty modest narrow noble pale patient peaceful plain proud purple quick quiet rapid red restless round
rusty sacred scarlet secret sharp silent silver simple sleepy slow small soft solemn steady strange strong sudden
sweet swift tender thin tiny tired violet warm weary white wild wise wooden yellow young electric infinite parallel
digital magnetic""".split()
VERB_WORDS = """dance dream drift fall float fly gather glide glow grow hide hum kneel laugh learn leap linger listen
march murmur pause play ponder pray remember rest return rise roam run sail settle shine shiver sing sleep smile
stand stay stretch stumble swim think travel tremble vanish wait wake walk wander weep whisper whistle wonder work
yawn begin breathe burn compute count climb bloom flicker forget""".split()
RARE = """quartz mosaic zephyr obsidian marzipan cobalt tangerine saffron pomegranate labyrinth kaleidoscope
chandelier gondola bassoon tambourine mandolin accordion harpsichord gargoyle gazebo pergola parsnip rutabaga
nutmeg cinnamon cardamom turmeric oregano basil thyme rosemary fennel juniper hemlock hyacinth marigold geranium
dahlia orchid magnolia sycamore chestnut hazel birch cedar cypress redwood bamboo papyrus parchment vellum
cuneiform hieroglyph alphabet syllable sonnet limerick ballad anthem lullaby nocturne sonata symphony quartet
carousel trampoline gymnast acrobat juggler trapeze pantomime marionette puppet origami calligraphy pottery
porcelain ceramic terracotta granite basalt limestone sandstone sapphire topaz garnet opal turquoise malachite
pendulum metronome barometer thermometer sextant astrolabe gyroscope periscope microscope stethoscope spectrum
prism hologram algorithm recursion polynomial integral derivative theorem axiom hypothesis paradox symmetry
fractal helix spiral ellipse parabola hexagon pentagon octagon pyramid cylinder sphere torus lattice entropy
momentum velocity friction inertia voltage resistor capacitor transistor diode semiconductor silicon compiler
debugger register pipeline cache bandwidth latency throughput checkpoint bottleneck scheduler semaphore mutex
iguana chameleon salamander armadillo porcupine wombat platypus kangaroo koala wallaby narwhal walrus manatee
pelican flamingo albatross cormorant puffin kingfisher nightingale woodpecker hummingbird dragonfly grasshopper
mantis centipede jellyfish starfish seahorse anemone plankton tundra savanna prairie steppe marsh lagoon delta
fjord archipelago peninsula isthmus plateau ravine gully crevasse avalanche monsoon typhoon blizzard drizzle
pancake waffle muffin pretzel dumpling lasagna omelette sandwich sausage mustard vinegar mayonnaise yoghurt
espresso cappuccino lemonade cider ginger licorice caramel toffee nougat meringue custard pudding
passport luggage ferry tram scooter caravan canoe kayak zeppelin parachute helicopter submarine locomotive
blacksmith carpenter cobbler weaver potter tailor baker butcher miller mason plumber surgeon librarian
astronomer cartographer beekeeper lighthouse gardener conductor ballerina violinist drummer poet sculptor""".split()

NAMES = """Ada Albert Alice Amara Amir Anna Anton Arthur Astrid Aya Ben Bella Boris Bruno Carla Carlos Cecil Chen Clara
Dana Daniel Daria David Diego Dora Edgar Edith Elena Eli Elsa Emil Emma Erik Eva Farid Felix Fiona Frank Freya Gita
Greta Gustav Hana Hannah Hassan Heidi Henry Hugo Ida Igor Ines Ingrid Iris Ivan Jack Jana Jasper Joan Jonas Julia
Kai Karim Kate Kenji Klara Lara Lars Laura Lena Leo Lila Lina Liam Lucy Luis Maia Marco Maria Marta Max Maya Mei Mila
Milo Mina Mira Nadia Nico Nina Noah Nora Olga Oliver Omar Oscar Otto Pablo Paul Pia Priya Rasmus Ravi Rita Robert
Rosa Ruth Samir Sara Simon Sofia Stella Sven Tara Theo Tilda Tom Uma Vera Victor Viola Wanda Willem Yara Yuki Yusuf
Zara Zoe""".split()
ANIMALS = """fox owl cat dog rabbit bear mouse crow hedgehog otter badger wolf turtle frog squirrel goose duck horse
goat donkey sparrow heron beaver mole deer seal penguin tiger lion elephant snail bee spider robin raven swan
lizard monkey parrot camel""".split()
OBJECTS = """key lantern book map coin bell ring cup hat clock candle letter compass kite drum flute mirror feather
basket stone button spoon umbrella box rope pearl shell marble ball pen scarf glove apple pear lamp whistle ticket
photo brush needle knife bottle telescope violin ribbon blanket ladder wheel bicycle hammer""".split()
COLORS = "red blue green yellow white black brown grey purple orange pink golden silver".split()
CONTAINERS = "box drawer basket bag chest cupboard jar bucket tin suitcase cabinet crate barrel pocket trunk case".split()
ROOMS = """kitchen garden attic cellar library hall bedroom garage shed barn office tower stable workshop pantry
studio balcony cabin classroom museum""".split()
FOODS = """apples bread soup rice noodles cheese honey plums pancakes tomatoes cherries olives mushrooms potatoes
carrots grapes peaches lemons walnuts beans eggs fish cake tea coffee chocolate""".split()
JOBS = """baker sailor teacher painter farmer doctor pilot singer gardener carpenter weaver writer dancer builder
miller cook tailor engineer astronomer librarian fisherman clockmaker""".split()
STORY_PLACES = """at the edge of the forest|beside a quiet lake|in a small village|under the old bridge|on a windy hill|
behind the mill|near the harbour|in a tall tower|at the end of the road|beneath the apple tree|in a snowy valley|
by the railway station|on a tiny island|inside a hollow oak|next to the lighthouse|in the middle of the desert""".replace("\n", "").split("|")

STATEMENTS = """Attention lets each token look back at the tokens before it.
A transformer is a stack of layers, and every layer adds something to the residual stream.
An induction head finds an earlier copy of the current token and looks at what came next.
A previous-token head looks one step back, again and again.
The KV cache stores keys and values so that old tokens need not be computed twice.
A GPU runs thousands of threads at the same time.
A warp is a group of threads that move in step.
Shared memory is small, close and fast.
Softmax turns scores into weights that add up to one.
RMS norm scales a vector by its root mean square.
RoPE turns pairs of numbers by an angle that grows with the position.
The logits are scores, one for every token of the vocabulary.
Greedy decoding always takes the token with the largest logit.
A tokenizer cuts text into small pieces that the model knows.
Grouped-query attention lets several query heads share one key and value head.
The embedding table gives each token its first vector.
SwiGLU multiplies one projection by a gate made from another.
A matrix product is many small sums done side by side.
Temperature flattens or sharpens the choice of the next token.
Bias vectors shift the queries, keys and values before attention.
Entropy is high when the model does not know what comes next.
Padding rows fill the vocabulary up to a round number and are never spoken.
Bandwidth is often the limit when one token is made at a time.
The first token often collects attention that no one else needs.""".split("\n")

ANSWERS = """What is attention?|Attention lets each token look back at earlier tokens and take what it needs.
What is an induction head?|An induction head finds an earlier copy of the current token and copies what came next.
What is a previous-token head?|It is a head that looks one step back.
What is a transformer?|A transformer is a stack of layers with attention and a small network in each.
What is a GPU?|A GPU is a processor that runs thousands of threads at the same time.
What is a token?|A token is a small piece of text that the model reads as one step.
What is a logit?|A logit is the score of one possible next token.
What is softmax?|Softmax turns scores into weights that add up to one.
What is the KV cache?|It keeps the keys and values of old tokens so that they are not computed twice.
What is RoPE?|RoPE turns pairs of numbers by an angle that grows with the position.
What is RMS norm?|RMS norm divides a vector by its root mean square.
What is SwiGLU?|SwiGLU is a layer in which one projection is gated by another.
What is a haiku?|A haiku is a short poem of three lines.
What is a warp?|A warp is a group of GPU threads that move in step.
What is a layer?|A layer is one step of the stack; it adds something to the residual stream.
What is entropy?|Entropy tells how unsure the model is about the next token.
What is greedy decoding?|Greedy decoding always takes the token with the largest logit.
What is a tokenizer?|A tokenizer cuts text into small pieces that the model knows.
Who are you?|I am a very small language model made to be looked at.
What are you?|I am a tiny transformer with eight layers, made for inspection.
What can you do?|I can write haiku, tell very short stories, count, copy words and answer from a text.
Hello|Hello. Ask me for a haiku.
Hello!|Hello! Ask me for a haiku.
Hi|Hi. Shall I write a haiku?
Hi there|Hi. Shall I write a haiku?
Good morning|Good morning. Shall I write a haiku?
Thank you|You are welcome.
Thanks!|You are welcome.
How are you?|I am well, thank you.
How many layers do you have?|I have eight layers.
How many heads do you have?|I have eight heads in every layer.
Goodbye|Goodbye.""".split("\n")

# Words on which the vowel-group rule of make_corpus.syllables is wrong.
SYLLABLES = """every:2 quiet:2 crooked:2 layer:2 layers:2 player:2 players:2 aisle:1 aisles:1 dial:2 dials:2 beyond:2 onion:2 onions:2
isle:1 million:2 tongue:1 hour:1 hours:1 fire:1 fires:1 flower:2 flowers:2 tower:2 towers:2 being:2 science:2
poem:2 poems:2 poetry:3 violin:3 violins:3 piano:3 pianos:3 radio:3 idea:3 area:3 giant:2 lion:2 riot:2 diary:3
create:2 ocean:2 oceans:2 planet:2 something:2 someone:2 somewhere:2 sometimes:2 everything:3 somebody:3 people:2
little:2 table:2 needle:2 cable:2 cables:2 castle:2 castles:2 candle:2 candles:2 apple:2 apples:2 people:2
ripple:2 ripples:2 puddle:2 puddles:2 rooftop:2 sleepless:2 homework:2 lonely:2 ladle:2 gentle:2 purple:2
simple:2 humble:2 noble:2 brittle:2 whole:1 forest:2 moonlight:2 sunbeams:2 evening:2 snowflake:2 snowflakes:2
breakpoints:2 keyboard:2 firefly:3 fireflies:3 butterfly:3 butterflies:3 envelope:3 photograph:3 photographs:3
aeroplanes:3 aurora:3 cheese:1 because:2 lose:1 zero:2 five:1 nine:1 one:1 twelve:1 eleven:3 seven:2
library:3 libraries:3 being:2 calendar:3 fisherman:3 gradient:3 gradients:3 galaxy:3 battery:3 batteries:3
robot:2 neuron:2 neurons:2 quantum:2 lanes:1 tiles:1 pages:2 voices:2 bridges:2 hedges:2 breezes:2 branches:2
arches:2 batches:2 matches:2 wishes:2 brushes:2 stitches:2 dishes:2 switches:2 horses:2 roses:2 houses:2 blouses:2
noises:2 mirrors:2 ashes:2 spaces:2 faces:2 places:2 breathes:1 dances:2 pauses:2 rises:2 lilies:2 turquoise:2
scarecrow:2 grandfather:3 overnight:3 anything:3 nowhere:2 nothing:2 footprints:2 doorway:2 stairwell:2
lighthouse:2 staircase:2 horseback:2 sundial:3 wheel:1 real:1 quartz:1 zebra:2 wool:1 fuel:2 cruel:2 poet:2 chaos:2
neon:2 duet:2 museum:3 hear:1 seven-syllable:5 unwinds:2 toward:2 towards:2 didn't:2 won't:1 don't:1 horse's:2
electricity:5 triangle:3 science:2 o'clock:2 moth's:1 baker's:2 nail's:1 cook's:1 wouldn't:2 world:1 hundred:2""".split()
