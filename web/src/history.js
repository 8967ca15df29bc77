// The history panel is shown where the server offers history.
export function historyButton () {
  return null
}
