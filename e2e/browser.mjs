// Drives Chromium for the page tests: one JSON object a line on stdin, one answer a line on stdout, as
// driver.mjs does. Every `page` lives in a browser context of its own, so that nothing but the server joins them.
import * as readline from 'node:readline'
import { chromium } from 'playwright-core'

const pages = new Map()
let browser

const get = name => {
  const p = pages.get(name)
  if (!p) throw new Error(`no page ${name}`)
  return p
}

const ops = {
  async start ({ executable }) {
    const launch = () => chromium.launch({
      executablePath: executable,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage']
    })
    // Chromium sometimes crashes while it starts, before it has opened any page: that says nothing of the server.
    browser = await launch().catch(() => launch())
    return browser.version()
  },
  async page ({ page, width = 1180, height = 760, dark = false, phone = false, like }) {
    const context = like
      ? get(like).page.context()
      : await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', hasTouch: phone, isMobile: phone, permissions: ['clipboard-read', 'clipboard-write'] })
    const p = { page: await context.newPage(), problems: [] }
    p.page.setDefaultTimeout(20000)
    p.page.on('console', m => { if (m.type() === 'error' || m.type() === 'warning') p.problems.push(`${m.type()}: ${m.text()}`) })
    p.page.on('pageerror', e => p.problems.push(`uncaught: ${e.message}`))
    // What the page itself gave up, because nobody wants the answer any more, is no fault.
    p.page.on('requestfailed', r => r.failure()?.errorText === 'net::ERR_ABORTED' || p.problems.push(`failed: ${r.url()} ${r.failure()?.errorText}`))
    p.requests = []
    p.page.on('request', r => p.requests.push(r.url()))
    p.sockets = []
    p.page.on('websocket', w => p.sockets.push(w.url()))
    pages.set(page, p)
  },
  go: async ({ page, url }) => { await get(page).page.goto(url) },
  url: ({ page }) => get(page).page.url(),
  title: ({ page }) => get(page).page.title(),
  problems: ({ page }) => get(page).problems.splice(0),
  requests: ({ page }) => get(page).requests,
  sockets: ({ page }) => get(page).sockets,
  click: async ({ page, selector }) => { await get(page).page.click(selector) },
  // drag presses the mouse on an element at one share of its width, moves it to another in steps, one a frame, and lets go.
  async drag ({ page, selector, from, to, steps }) {
    const p = get(page).page
    const box = await (await p.$(selector)).boundingBox()
    const place = share => [box.x + 8 + share * (box.width - 16), box.y + box.height / 2]
    await p.mouse.move(...place(from))
    await p.mouse.down()
    for (let i = 1; i <= steps; i++) {
      await p.mouse.move(...place(from + (to - from) * i / steps))
      await p.evaluate(() => new Promise(requestAnimationFrame))
    }
    await p.mouse.up()
  },
  // hold leaves requests for addresses with a certain part without an answer.
  hold: async ({ page, part }) => { await get(page).page.route(u => u.href.includes(part), () => {}) },
  hover: async ({ page, selector }) => { await get(page).page.hover(selector) },
  fill: async ({ page, selector, text }) => { await get(page).page.fill(selector, text) },
  choose: async ({ page, selector, value }) => { await get(page).page.selectOption(selector, value) },
  type: async ({ page, text, delay = 0 }) => { await get(page).page.keyboard.type(text, { delay }) },
  press: async ({ page, key }) => { await get(page).page.keyboard.press(key) },
  paste: async ({ page, text }) => { await get(page).page.keyboard.insertText(text) },
  wait: async ({ page, selector, timeout = 15000 }) => { await get(page).page.waitForSelector(selector, { timeout }) },
  gone: async ({ page, selector, timeout = 15000 }) => { await get(page).page.waitForSelector(selector, { state: 'detached', timeout }) },
  value: ({ page, selector }) => get(page).page.inputValue(selector),
  attr: ({ page, selector, name }) => get(page).page.getAttribute(selector, name),
  inner: ({ page, selector }) => get(page).page.innerText(selector),
  all: ({ page, selector, name }) => get(page).page.$$eval(selector, (els, n) => els.map(e => n ? e.getAttribute(n) : e.textContent), name),
  eval: ({ page, code }) => get(page).page.evaluate(code),
  // text is what the editor holds, without other people's carets.
  text: ({ page }) => get(page).page.evaluate(readText),
  async hasText ({ page, text, timeout = 15000 }) {
    const until = Date.now() + timeout
    for (;;) {
      const now = await get(page).page.evaluate(readText)
      if (now === text) return
      if (Date.now() > until) throw new Error(`the editor holds ${JSON.stringify(now)}, want ${JSON.stringify(text)}`)
      await new Promise(resolve => setTimeout(resolve, 25))
    }
  },
  shot: async ({ page, path }) => { await get(page).page.screenshot({ path }) },
  offline: async ({ page, on }) => { await get(page).page.context().setOffline(on) },
  reload: async ({ page }) => { await get(page).page.reload() },
  stop: async () => { await browser?.close() }
}

function readText () {
  return Array.from(document.querySelectorAll('.cm-content > .cm-line'), line => {
    const copy = line.cloneNode(true)
    for (const x of copy.querySelectorAll('.caret, .cm-placeholder, img')) x.remove()
    return copy.textContent
  }).join('\n')
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const { id, op, ...args } = JSON.parse(line)
  let answer
  try {
    if (!ops[op]) throw new Error(`no operation ${op}`)
    answer = { id, result: (await ops[op](args)) ?? null }
  } catch (e) {
    answer = { id, error: String(e?.message ?? e) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}).on('close', async () => {
  await browser?.close().catch(() => {})
  process.exit(0)
})
