// What neither the server nor htmx does: theme without a reload, copy buttons, the menu drawer, dialogs, chart tips,
// and the manners of the live list. Every page works without this file. No inline handlers, no eval.
(function () {
  'use strict';

  const root = document.documentElement;
  const find = (selector) => document.querySelector(selector);

  // ---------- Theme: the form works by itself; this only spares the reload ----------

  document.addEventListener('submit', (event) => {
    const form = event.target.closest('[data-theme-form]');
    if (!form) return;
    event.preventDefault();
    const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = isDark ? 'light' : 'dark';
    const body = new URLSearchParams(new FormData(form));
    body.set('theme', root.dataset.theme);
    fetch(form.action, { method: 'POST', body, redirect: 'manual', credentials: 'same-origin' }).catch(() => {});
  });

  // ---------- Copy, dialogs, drawer ----------

  function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector('span');
    const was = label.textContent;
    const select = () => getSelection().selectAllChildren(source);
    // Without a secure context there is no clipboard: select the text, so that one key copies it.
    if (!navigator.clipboard) return select();
    navigator.clipboard.writeText(source.textContent.trim()).then(() => {
      label.textContent = 'Copied';
      setTimeout(() => { label.textContent = was; }, 1600);
    }, select);
  }

  function drawer(open) {
    const menu = document.getElementById('nav');
    if (!menu || menu.classList.contains('open') === open) return;
    menu.classList.toggle('open', open);
    if (open) menu.querySelector('a').focus();
    else find('[data-menu]').focus();
  }

  document.addEventListener('click', (event) => {
    const near = (selector) => event.target.closest(selector);
    let target = near('[data-copy]');
    if (target) return copy(target);
    target = near('[data-dialog]');
    if (target) {
      document.getElementById(target.dataset.dialog).showModal();
      event.preventDefault();
      return;
    }
    target = near('dialog [data-close]');
    if (target) {
      target.closest('dialog').close();
      event.preventDefault();
      return;
    }
    if (near('[data-menu]')) {
      event.preventDefault();
      drawer(true);
    } else if (!near('#nav')) {
      const menu = document.getElementById('nav');
      if (menu) menu.classList.remove('open');
    }
    document.querySelectorAll('details.account[open]').forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
    if (near('[data-show-new]')) showWaiting();
    target = near('[data-pause]');
    if (target) pause(target);
  });

  // A secret that was shown once must not be seen again by closing and opening.
  document.addEventListener('close', (event) => { if (event.target.querySelector('[data-once]')) location.reload(); }, true);

  // ---------- Charts: one tip for the page; without script the titles of the drawing still work ----------

  let tip, spoken;

  function element(tag, cls, text) {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function hideTip() {
    if (tip) tip.hidden = true;
    document.querySelectorAll('.pt.on').forEach((point) => point.classList.remove('on'));
  }

  function swatch(slot) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const rect = document.createElementNS(svg.namespaceURI, 'rect');
    rect.setAttribute('width', 8);
    rect.setAttribute('height', 8);
    rect.setAttribute('class', 'f' + slot);
    svg.append(rect);
    return svg;
  }

  function showTip(point, speak) {
    hideTip();
    point.classList.add('on');
    if (!tip) {
      tip = element('div');
      tip.id = 'tip';
      spoken = element('div', 'sr');
      spoken.setAttribute('aria-live', 'polite');
      document.body.append(tip, spoken);
    }
    const [title, ...rows] = point.dataset.tip.split('\n');
    const words = [title];
    tip.replaceChildren(element('b', '', title));
    for (const row of rows) {
      const [slot, name, value] = row.split('\t');
      const line = element('div');
      if (slot) line.append(swatch(slot));
      line.append(element('span', 'name', name), element('span', 'value', value));
      tip.append(line);
      words.push(name + ' ' + value);
    }
    tip.hidden = false;
    const box = point.querySelector('.hit').getBoundingClientRect();
    let left = box.right + 10;
    if (left + tip.offsetWidth > innerWidth - 8) left = box.left - tip.offsetWidth - 10;
    tip.style.left = Math.max(8, left) + 'px';
    tip.style.top = Math.max(8, box.top + 8) + 'px';
    if (speak) spoken.textContent = words.join(', ');
  }

  document.addEventListener('pointerover', (event) => {
    const point = event.target.closest('.pt');
    if (point) {
      const title = point.querySelector('title');
      if (title) title.remove(); // or the browser would show a second tip
      showTip(point, false);
    } else if (!event.target.closest('[data-chart]')) hideTip();
  });
  document.addEventListener('focusout', (event) => { if (event.target.closest('[data-chart]')) hideTip(); });

  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      hideTip();
      drawer(false);
      return;
    }
    const plot = event.target.closest('[data-chart]');
    if (!plot || !/^(ArrowLeft|ArrowRight|Home|End)$/.test(event.key)) return;
    const points = [...plot.querySelectorAll('.pt')];
    if (!points.length) return;
    event.preventDefault();
    const last = points.length - 1;
    const now = points.indexOf(plot.querySelector('.pt.on'));
    let next = now + (event.key === 'ArrowRight' ? 1 : -1);
    if (event.key === 'Home' || (now < 0 && event.key === 'ArrowRight')) next = 0;
    if (event.key === 'End' || (now < 0 && event.key === 'ArrowLeft')) next = last;
    showTip(points[Math.min(last, Math.max(0, next))], true);
  });

  // ---------- Live updates ----------

  const ROWS_MAX = 50;
  const NOTE_AFTER_MS = 10000;
  let isPaused = false;
  let waiting = []; // fragments that came while the reader was using the list, oldest first
  let lostAt = null;
  let noteTimer = 0;

  function pill(state, text) {
    const live = find('.live');
    if (!live || live.dataset.state === state) return;
    live.dataset.state = state;
    live.querySelector('span').textContent = text;
  }

  function lost() {
    if (!lostAt) {
      lostAt = new Date();
      noteTimer = setTimeout(() => {
        const note = find('[data-stale]');
        if (!note) return;
        note.querySelector('[data-since]').textContent = lostAt.toTimeString().slice(0, 8);
        note.hidden = false;
      }, NOTE_AFTER_MS);
    }
    if (navigator.onLine) pill('retry', 'Reconnecting…');
    else pill('off', 'Offline');
  }

  function back() {
    pill('on', 'Live');
    if (!lostAt) return;
    lostAt = null;
    clearTimeout(noteTimer);
    const note = find('[data-stale]');
    if (note) note.hidden = true;
    // Whatever came meanwhile is missing from the tiles: parts that listen to this load themselves once.
    htmx.trigger(document.body, 'caught-up');
  }

  document.addEventListener('htmx:sseOpen', back);
  document.addEventListener('htmx:sseError', lost);
  addEventListener('offline', lost);

  const rowsIn = (fragment) => (fragment.match(/<tr[\s>]/g) || []).length;

  // Rows must not move under a pointer, under the keyboard, or above what is being read.
  function isInUse(list) {
    const card = list.closest('.card') || list;
    const view = list.closest('table').getBoundingClientRect();
    return isPaused || list.matches(':hover') || card.contains(document.activeElement) || view.top < 0;
  }

  function announceWaiting() {
    const button = find('[data-show-new]');
    if (!button) return;
    const count = waiting.reduce((sum, fragment) => sum + rowsIn(fragment), 0);
    button.hidden = count === 0;
    button.textContent = Math.min(count, ROWS_MAX) + ' new';
  }

  function trim(list) {
    while (list.rows.length > ROWS_MAX) list.deleteRow(-1);
  }

  function showWaiting() {
    const list = find('[data-ticker]');
    waiting.forEach((fragment) => htmx.swap(list, fragment, { swapStyle: 'afterbegin', swapDelay: 0, settleDelay: 0 }));
    waiting = [];
    trim(list);
    announceWaiting();
  }

  function pause(button) {
    isPaused = !isPaused;
    button.setAttribute('aria-pressed', String(isPaused));
    button.querySelector('span').textContent = isPaused ? 'Resume' : 'Pause';
    if (!isPaused) {
      button.blur();
      showWaiting();
    }
  }

  document.addEventListener('htmx:sseBeforeMessage', (event) => {
    const list = event.target.closest('[data-ticker]');
    if (!list) return;
    if (isInUse(list)) {
      event.preventDefault();
      waiting.push(event.detail.data);
      while (waiting.length > ROWS_MAX) waiting.shift();
      announceWaiting();
    } else if (waiting.length) showWaiting();
  });
  document.addEventListener('htmx:sseMessage', (event) => {
    const list = event.target.closest('[data-ticker]');
    if (!list) return;
    const empty = list.querySelector('[data-empty]');
    if (empty) empty.remove();
    trim(list);
  });

  // How long ago something was goes on while the page is open. The server writes the same words.
  setInterval(() => {
    document.querySelectorAll('time[datetime]').forEach((time) => {
      if (!/^(just now|\d+ (s|min|h) ago)$/.test(time.textContent)) return;
      const seconds = Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (seconds < 60) time.textContent = seconds < 1 ? 'just now' : seconds + ' s ago';
      else if (seconds < 3600) time.textContent = Math.floor(seconds / 60) + ' min ago';
      else if (seconds < 86400) time.textContent = Math.floor(seconds / 3600) + ' h ago';
    });
  }, 15000);

  // A chart is never redrawn while it is being read.
  document.addEventListener('htmx:beforeRequest', (event) => {
    const chart = event.detail.elt.closest('[data-redraws]');
    if (chart && event.detail.elt === chart && (chart.matches(':hover') || chart.contains(document.activeElement))) event.preventDefault();
  });

  // A refused or lost request leaves the page as it is, and says so.
  function failed(isFailed) {
    const note = find('[data-failed]');
    if (note) note.hidden = !isFailed;
  }
  document.addEventListener('htmx:responseError', () => failed(true));
  document.addEventListener('htmx:sendError', () => failed(true));
  document.addEventListener('htmx:afterSwap', () => failed(false));

  // ---------- Forms: the first wrong field gets the focus ----------

  document.addEventListener('htmx:afterSettle', (event) => {
    const wrong = event.target.querySelector && event.target.querySelector('[aria-invalid="true"]');
    if (wrong) wrong.focus();
  });

  document.addEventListener('DOMContentLoaded', () => {
    const live = find('.live');
    if (live && !navigator.onLine) pill('off', 'Offline');
    const wrong = find('[aria-invalid="true"]');
    if (wrong) wrong.focus();
  });
})();
