// Films of one fracture that sliders move, and a network that answers in the browser.
// Everything comes from the folder of this script; nothing is sent anywhere.
const HERE = new URL('.', import.meta.url)
const percent = p => `${Math.round(100*p)} %`
const read = async name => {
  const got = await fetch(new URL(name, HERE))
  if (!got.ok) throw new Error(`${name}: ${got.status}`)
  return got
}
const made = (html) => Object.assign(document.createElement('template'), { innerHTML: html }).content.firstElementChild

// A film as the network takes it: one byte per pixel, the mean of what each pixel of the square covers

function spans(from, to) {
  const step = from/to
  return Array.from({ length: to }, (_, k) => {
    const start = k*step, end = Math.min((k + 1)*step, from), found = []
    for (let i = Math.floor(start); i < end; i++) {
      const share = Math.min(i + 1, end) - Math.max(i, start)
      if (share > 1e-9) found.push([i, share/step])
    }
    return found
  })
}

function squareOf(pixels, width, height, size) {
  const wide = spans(width, size), tall = spans(height, size)
  const rows = new Float32Array(height*size), square = new Uint8Array(size*size)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < size; x++)
      for (const [i, share] of wide[x]) rows[y*size + x] += share*pixels[4*(y*width + i)]
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      let sum = 0
      for (const [i, share] of tall[y]) sum += share*rows[i*size + x]
      square[y*size + x] = Math.round(sum)
    }
  return square
}

// The network

class Network {
  static async load(card) {
    if (typeof WebAssembly === 'undefined') throw new Error('WebAssembly is off in this browser')
    const ort = await import(new URL('ort.wasm.min.mjs', HERE).href)
    ort.env.logLevel = 'error'
    ort.env.wasm.numThreads = 1
    ort.env.wasm.wasmPaths = HERE.href
    const file = new Uint8Array(await (await read(card.model)).arrayBuffer())
    const session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'] })
    return Object.assign(new Network(), { ort, session, card })
  }

  async probability(square) {
    const { size, calibration } = this.card
    const image = new this.ort.Tensor('uint8', square, [1, 1, size, size])
    const [no, yes] = (await this.session.run({ image })).logits.data
    return 1/(1 + Math.exp((no - yes)/(calibration?.temperature ?? 1)))
  }
}

// The page

const PAGE = `<div class="live-page">
<div class="live-films"></div>
<div class="live-sliders">
  <label><span>Translation <output></output></span><input type="range" class="live-translation" min="0" step="1"></label>
  <label><span>Angulation <output></output></span><input type="range" class="live-angulation" min="0" step="1"></label>
  <label class="live-tick"><input type="checkbox" class="live-broken" checked> the bone is broken</label>
  <label class="live-tick"><input type="checkbox" class="live-where"> show where</label>
</div>
<figure class="live-chart"><svg viewBox="0 0 640 230" role="img" aria-label="The chart is drawn when the network has answered"></svg><figcaption></figcaption></figure>
<p class="live-note">Simulated films, not patients. Not a medical device. Nothing leaves this page.</p>
</div>`
const FILM = `<div class="live-film"><canvas role="img"></canvas><span class="live-view"></span></div>`
const BARS = `<div class="live-bars"><p class="live-asked">Is the bone broken?</p></div>`
const BAR = `<div class="live-bar"><span></span><b>…</b><div role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><i></i></div></div>`

class View {
  constructor(facts, sheet) {
    Object.assign(this, facts, { sheet, known: new Map() })
    this.film = made(FILM)
    this.canvas = this.film.querySelector('canvas')
    Object.assign(this.canvas, { width: this.width, height: this.height })
    this.film.querySelector('.live-view').textContent = this.says
    this.bar = made(BAR)
    this.bar.querySelector('span').textContent = this.says
    this.meter = this.bar.querySelector('[role=meter]')
    this.meter.setAttribute('aria-label', `probability, film ${this.says}`)
  }

  draw(number, where) {
    const film = this.films[number], brush = this.canvas.getContext('2d'), { width, height } = this
    brush.drawImage(this.sheet, ...film.at, width, height, 0, 0, width, height)
    const broken = film.box ? `broken, ${film.mm} mm and ${film.degrees}° in this view` : 'whole'
    this.canvas.setAttribute('aria-label', `Simulated film ${this.says}, bone ${broken}`)
    if (!where || !film.box) return
    const [left, top, right, bottom] = film.box
    Object.assign(brush, { strokeStyle: '#f0b840', lineWidth: 3 })
    brush.strokeRect(left*width - 8, top*height - 8, (right - left)*width + 16, (bottom - top)*height + 16)
  }

  tell(p) {
    this.bar.querySelector('b').textContent = percent(p)
    this.meter.setAttribute('aria-valuenow', Math.round(100*p))
    this.meter.firstElementChild.style.width = `${100*p}%`
    this.bar.classList.toggle('live-seen', p > .5)
  }

  square(number, size) {
    const canvas = Object.assign(document.createElement('canvas'), { width: this.width, height: this.height })
    const brush = canvas.getContext('2d', { willReadFrequently: true })
    brush.drawImage(this.sheet, ...this.films[number].at, this.width, this.height, 0, 0, this.width, this.height)
    return squareOf(brush.getImageData(0, 0, this.width, this.height).data, this.width, this.height, size)
  }

  async ask(network, number) {
    if (!this.known.has(number)) {
      const square = this.square(number, network.card.size)
      this.known.set(number, await network.probability(square))
    }
    return this.known.get(number)
  }
}

class Page {
  constructor(place, facts, views) {
    Object.assign(this, { facts, views, network: null, turn: 0 })
    this.root = made(PAGE)
    const films = this.root.querySelector('.live-films'), bars = made(BARS)
    for (const view of views) { films.append(view.film); bars.append(view.bar) }
    films.append(bars)
    this.sliders = ['translation', 'angulation'].map(name => this.root.querySelector(`.live-${name}`))
    this.sliders.forEach((slider, k) => {
      slider.max = this.steps(k).length - 1
      slider.value = facts.start[k]
    })
    this.ticks = ['broken', 'where'].map(name => this.root.querySelector(`.live-${name}`))
    for (const control of [...this.sliders, ...this.ticks]) control.addEventListener('input', () => this.update())
    place.replaceChildren(this.root)
    this.update()
  }

  steps(k) { return k ? this.facts.angulations : this.facts.translations }
  number(at = +this.sliders[0].value) { return 1 + this.sliders[1].value*this.facts.translations.length + at }

  update() {
    const [broken, where] = this.ticks.map(tick => tick.checked)
    this.sliders.forEach((slider, k) => {
      const says = `${this.steps(k)[slider.value]}${k ? '°' : ' mm'}`
      slider.setAttribute('aria-valuetext', says)
      slider.disabled = !broken
      slider.closest('label').querySelector('output').textContent = says
    })
    this.shown = broken ? this.number() : 0
    for (const view of this.views) view.draw(this.shown, where)
    if (this.network) this.answer(++this.turn)
  }

  async answer(turn) {
    for (const view of this.views) {
      const p = await view.ask(this.network, this.shown)
      if (turn !== this.turn) return
      view.tell(p)
    }
    this.root.dataset.shown = this.shown
    const lines = this.views.map(() => [])
    for (let at = 0; at < this.facts.translations.length; at++)
      for (const [k, view] of this.views.entries()) {
        lines[k].push(await view.ask(this.network, this.number(at)))
        if (turn !== this.turn) return
        await new Promise(done => setTimeout(done))
      }
    this.chart(lines)
    this.root.dataset.drawn = this.shown
  }

  chart(lines) {
    const steps = this.facts.translations, most = steps.at(-1)
    const x = mm => 76 + 540*mm/most, y = p => 12 + 170*(1 - p)
    const path = line => line.map((p, k) => `${k ? 'L' : 'M'}${x(steps[k]).toFixed(1)} ${y(p).toFixed(1)}`).join('')
    const rules = [0, .5, 1].map(p => `<path class="live-rule" d="M76 ${y(p)}H616"/>
      <text x="68" y="${y(p) + 5}" text-anchor="end">${percent(p)}</text>`)
    const ticks = steps.filter(Number.isInteger).map(mm =>
      `<text x="${x(mm)}" y="204" text-anchor="middle">${mm}</text>`)
    const curves = lines.map((line, k) => `<path class="live-line live-line${k}" d="${path(line)}"/>`)
    const now = this.shown ? steps[this.sliders[0].value] : null
    const dots = now === null ? [] : lines.map((line, k) =>
      `<circle class="live-dot live-line${k}" r="6" cx="${x(now)}" cy="${y(line[this.sliders[0].value])}"/>`)
    const svg = this.root.querySelector('svg'), said = this.sentence(lines)
    svg.innerHTML = [...rules, ...ticks, ...curves, ...dots].join('') +
      '<text x="346" y="226" text-anchor="middle">translation, mm</text>'
    svg.setAttribute('aria-label', `Probability that the bone is broken against translation. ${said}`)
    const keys = this.views.map((view, k) => `<i class="live-key live-key${k}"></i>${view.says}`).join(' &nbsp; ')
    this.root.querySelector('figcaption').innerHTML = `${keys}<br>${said}`
  }

  sentence(lines) {
    const degrees = this.facts.angulations[this.sliders[1].value], steps = this.facts.translations
    const parts = this.views.map((view, k) => {
      const first = lines[k].findIndex(p => p > .5)
      const when = first < 0 ? `never up to ${steps.at(-1)} mm` : first ? `from ${steps[first]} mm on` : 'already at 0 mm'
      return `${view.says} ${when}`
    })
    return `With ${degrees}° between the fragments the network calls this bone broken ${parts.join(', ')}.`
  }

  refuse(reason) {
    const text = 'Here a small network would say, for each film, how probable it is that the bone is broken, and a ' +
      'chart would show from which displacement on it notices. It runs in the browser, by WebAssembly.'
    const told = (className, textContent) => Object.assign(document.createElement('p'), { className, textContent })
    this.root.querySelector('.live-bars').replaceChildren(told('live-why', `No answer: ${reason}.`))
    this.root.querySelector('.live-chart').replaceWith(told('live-refused', text))
    this.root.dataset.refused = 'yes'
  }
}

async function open(place) {
  const facts = await (await read('films.json')).json()
  const views = await Promise.all(facts.views.map(async view => {
    const sheet = Object.assign(new Image(), { src: new URL(view.file, HERE) })
    await sheet.decode()
    return new View(view, sheet)
  }))
  const page = new Page(place, facts, views)
  try {
    if (facts.missing) throw new Error(`this copy of the site was built without its network (${facts.missing})`)
    page.network = await Network.load(await (await read('card.json')).json())
    page.update()
  } catch (fault) { page.refuse(fault.message) }
}

const place = document.getElementById('live')
open(place).catch(fault => place.append(` The films did not load (${fault.message}).`))
