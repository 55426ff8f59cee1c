/* Asks for a token where the service does. It is kept for as long as the tab is open, and sent nowhere else. */

import { html, useEffect, useRef } from "./vendor/htm-preact.js";
import { useTitle } from "./parts.js";

export function TokenForm({ message, onToken }) {
  const field = useRef(null);
  useTitle("A token is needed");
  useEffect(() => field.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    onToken(field.current.value.trim());
  };
  return html`
    <form class="token" onSubmit=${submit}>
      <h1>This service asks for a token</h1>
      <p class="hint" role="alert">
        ${message[0].toUpperCase() + message.slice(1)}. One of role “read” is enough; it is forgotten with this tab.
      </p>
      <label for="token">Token</label>
      <div class="row">
        <input id="token" type="password" autocomplete="off" required ref=${field} />
        <button class="primary">Open</button>
      </div>
    </form>
  `;
}
