const adjectives = 'amber autumn bold brave breezy bright brisk calm candid clear clever cosmic cosy crisp curious dapper daring early eager easy fair fancy fleet fond fresh gentle glad golden grand green happy honest humble jolly keen kind lively lucky mellow merry mild misty modest neat nimble noble olive patient plain polite proud quick quiet rapid ready royal rustic sandy serene silent silver simple smooth snug soft solar spry steady still stout sunny swift tidy tranquil true vivid warm wise witty young'.split(' ')
const nouns = 'acorn alder anchor apple aspen badger beacon birch bison brook canyon cedar cherry cliff cloud clover comet coral crane creek cricket dawn delta dove dune eagle ember falcon fern field finch fjord forest fox garden glade grove harbor hare hazel heron hill island ivy jay juniper kite lagoon lake lark leaf lemon lily linden lotus lynx maple marten meadow mesa moon moss oak orchard otter owl panda pear pebble pine plum pond poppy quail raven reef ridge river robin sage sparrow spruce star stone swan thrush tide trail tulip valley violet walnut wave willow wren'.split(' ')

// below answers an unbiased random integer in [0, n).
function below (n) {
  const limit = Math.floor(0x100000000 / n) * n
  const buf = new Uint32Array(1)
  do crypto.getRandomValues(buf); while (buf[0] >= limit)
  return buf[0] % n
}

const pick = list => list[below(list.length)]
const capital = s => s[0].toUpperCase() + s.slice(1)

// roomName: two words and a number, easy to say over the phone.
export const roomName = () => `${pick(adjectives)}-${pick(nouns)}-${10 + below(990)}`

// personName is what somebody is called until they say otherwise.
export const personName = () => `${capital(pick(adjectives))} ${capital(pick(nouns))}`

// colours are legible as carets on white and on near-black, and behind white text.
export const colours = ['#c2410c', '#a16207', '#4d7c0f', '#0f766e', '#0369a1', '#4f46e5', '#9333ea', '#be185d']

export const randomColour = () => pick(colours)
