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

function show(words, list) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const score = entry => wanted.reduce((sum, word) => {
    const title = entry.title.toLowerCase().split(/\W+/).includes(word) ? 8 : entry.title.toLowerCase().includes(word) ? 4 : 0
    const found = title + (entry.page.toLowerCase().includes(word) ? 2 : 0) + (entry.text.toLowerCase().includes(word) ? 1 : 0)
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
  input.onkeydown = event => { if (event.key === 'Escape') { input.value = ''; list.hidden = true } }
  addEventListener('click', event => { if (!event.target.closest('.search')) list.hidden = true })
})
