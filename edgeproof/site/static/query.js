// Read and write the address, which holds filters and choices, so that a page can be shared as it is.
"use strict";
const readQuery = () => new URLSearchParams(location.search);

// Replace the address without reloading. `entries` are [name, value] pairs; a name may repeat.
function writeQuery(entries) {
  const text = new URLSearchParams(entries).toString();
  history.replaceState(null, "", (text ? `?${text}` : location.pathname) + location.hash);
}
