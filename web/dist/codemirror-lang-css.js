import{a,b,c,d}from"./lezer-css.js";import"./lezer-lr.js";import"./codemirror-view.js";export{d as css,b as cssCompletionSource,c as cssLanguage,a as defineCSSCompletionSource};
