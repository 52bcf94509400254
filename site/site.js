// Theme, menu and search; the pages read well without any of them.
const up = document.currentScript.dataset.up
const root = document.documentElement
const wide = matchMedia('(min-width: 50.01rem)')
const kept = localStorage.getItem('theme')
root.dataset.theme = kept || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')

function loadSearch(then) {
  if (window.SEARCH) return then()
  const script = document.createElement('script')
  script.src = up + 'search.js'
  script.onload = then
  document.head.append(script)
}

const words_of = text => text.toLowerCase().match(/[\p{L}\p{N}_-]+/gu) || []
const parts_of = text => words_of(text).flatMap(word => [word, ...word.split(/[_-]/)])

function show(words, list) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const score = entry => wanted.reduce((sum, word) => {
    const whole = text => words_of(text).includes(word), begins = text => parts_of(text).some(own => own.startsWith(word))
    const title = whole(entry.title) ? 8 : begins(entry.title) ? 4 : 0
    const found = title + (begins(entry.page) ? 2 : 0) + (whole(entry.terms) ? 3 : 0) + (whole(entry.text) ? 2 : begins(entry.text) ? 1 : 0)
    return found && sum >= 0 ? sum + found : -1
  }, 0)
  const best = SEARCH.map(entry => [score(entry), entry]).filter(pair => pair[0] > 0).sort((a, b) => b[0] - a[0]).slice(0, 12)
  list.replaceChildren(...best.map(([, entry]) => {
    const item = document.createElement('li'), link = document.createElement('a'), where = document.createElement('small')
    link.href = up + entry.url
    link.append(entry.title, where)
    const place = entry.text.toLowerCase().indexOf(wanted[0])
    where.textContent = entry.page + ' · ' + entry.text.slice(Math.max(0, place - 30), place + 90)
    item.append(link)
    return item
  }))
  if (!best.length) { const none = document.createElement('li'); none.className = 'none'; none.textContent = 'Nothing found'; list.append(none) }
  list.hidden = !wanted.length
}

addEventListener('DOMContentLoaded', () => {
  const theme = document.getElementById('site-theme'), input = document.getElementById('site-search'), list = document.getElementById('site-found'), menu = document.getElementById('site-menu')
  const name = () => theme.textContent = root.dataset.theme === 'dark' ? 'Light' : 'Dark'
  theme.onclick = () => { root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark'; localStorage.setItem('theme', root.dataset.theme); name() }
  name()
  const fit = () => menu.open = wide.matches
  wide.addEventListener('change', fit)
  fit()
  const current = menu.querySelector('[aria-current]')
  if (current && wide.matches) menu.parentElement.scrollTop = current.offsetTop - 120
  input.oninput = () => loadSearch(() => show(input.value, list))
  input.onkeydown = event => {
    const first = list.querySelector('a')
    if (event.key === 'Escape') { input.value = ''; list.hidden = true }
    if (event.key === 'Enter' && first) first.click()
    if (event.key === 'ArrowDown' && first) { event.preventDefault(); first.focus() }
  }
  list.onkeydown = event => {
    const links = [...list.querySelectorAll('a')], at = links.indexOf(document.activeElement)
    const next = { ArrowDown: links[at + 1], ArrowUp: links[at - 1] || input }[event.key]
    if (next) { event.preventDefault(); next.focus() }
  }
  addEventListener('click', event => { if (!event.target.closest('.search')) list.hidden = true })
})
