const ages = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'long' })

export function ago (ms) {
  const s = Math.round((ms - Date.now()) / 1000)
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(s) >= size) return ages.format(Math.trunc(s / size), unit)
  }
  return 'just now'
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' })
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })

// when is a moment in words; the year is told where it is not this one.
export function when (time) {
  const t = new Date(time)
  if (Number.isNaN(t.getTime())) return 'unknown time'
  return `${(t.getFullYear() === new Date().getFullYear() ? day : dayOfYear).format(t)}, ${clock.format(t)}`
}

export const exact = time => {
  const t = new Date(time)
  return Number.isNaN(t.getTime()) ? '' : t.toISOString()
}
