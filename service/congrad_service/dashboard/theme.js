/* Light or dark as chosen here before; loaded before anything is painted. */
{
  const chosen = localStorage.getItem("congrad-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
