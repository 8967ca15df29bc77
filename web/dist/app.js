import{g as o,o as e}from"./home.js";o();var m=document.getElementById("app");location.pathname==="/"?e(m):import("./room.js").then(t=>t.room(m));
