function o(i,n){let e=-1,t=i-1;for(;e<t;){let l=e+t+1>>1;n(l)?e=l:t=l-1}return e}export{o as a};
